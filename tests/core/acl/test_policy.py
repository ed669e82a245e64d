"""A policy's text: what is taken, in HCL and in JSON, what is refused and in which words, and texts made to hurt."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.core.acl.commands import PutAclPolicy
from volstore.core.acl.policy import LONGEST_RULES, PolicyError, parse_policy
from volstore.core.acl.rights import AREAS, NAMESPACE_POLICIES, Acl, NamedRule, Rules, level_of_rules
from volstore.core.commands import level_of

READ = NamedRule("default", "read", NAMESPACE_POLICIES["read"])
STORY = Path(__file__).parents[2] / "reference" / "acl.jsonl"


def recorded_policies() -> list[Any]:
    steps = (json.loads(line) for line in STORY.read_text().splitlines())
    return [
        pytest.param(step["request"]["body"]["Rules"], step["response"], id=f"{number}")
        for number, step in enumerate(steps, 1)
        if step["step"] == "http"
        and step["request"]["method"] == "PUT"
        and "/v1/acl/policy/" in step["request"]["path"]
        and "does not match" not in step["response"]["text"]
        and "invalid name" not in step["response"]["text"]
    ]


@pytest.mark.parametrize(("text", "response"), recorded_policies())
def test_a_recorded_policy_is_taken_or_refused_in_the_references_words(text: str, response: dict[str, Any]) -> None:
    if response["status"] == 200:
        parse_policy(text)
        return
    with pytest.raises(PolicyError) as refused:
        parse_policy(text)
    assert f"\t* failed to parse rules: {refused.value}\n\n" in response["text"]


@pytest.mark.parametrize(
    "text",
    [
        'namespace "default" { policy = "read" }',
        'namespace default { policy = "read" }',
        '# why\nnamespace "default" { // here\n  policy = "read" /* so */\n}\n',
        'namespace "default" {\r\n  policy = "read",\r\n}',
        '"namespace" "default" { "policy" = "\\u0072ead" }',
        'namespace = { default = { policy = "read" } }',
        'namespace "default" { policy = "read" policies = ["x"] }\nvariables { path "a" { capabilities = ["read"] } }',
        '{"namespace": {"default": {"policy": "read"}}}',
        ' \n{"namespace": [{"default": [{"policy": "read"}]}], "quota_limit": 7}',
    ],
)
def test_one_meaning_has_many_spellings(text: str) -> None:
    assert parse_policy(text) == Rules((READ,))


def test_everything_that_a_policy_may_say() -> None:
    text = """
      namespace "a-*" { policy = "scale" capabilities = ["csi-read-volume", "alloc-node-exec"] }
      namespace "b" {}
      host_volume "prod-*" { policy = "write" }
      host_volume "x" { capabilities = ["mount-readonly"] }
      agent { policy = "read" }
      node { policy = "write" }
      operator { policy = "deny" }
      quota { policy = "read" }
      plugin { policy = "list" }
    """
    assert parse_policy(text) == Rules(
        (
            NamedRule("a-*", "scale", ("csi-read-volume", "alloc-node-exec", *NAMESPACE_POLICIES["scale"])),
            NamedRule("b"),
        ),
        (
            NamedRule("prod-*", "write", ("mount-readonly", "mount-readwrite")),
            NamedRule("x", "", ("mount-readonly",)),
        ),
        agent="read",
        node="write",
        operator="deny",
        quota="read",
        plugin="list",
    )


@pytest.mark.parametrize(
    ("text", "stated", "saves", "level"),
    [
        ('operator { policy = "read" }', "read", False, 1),
        ('operator { policy = "write" }', "write", True, 1),
        ('operator { capabilities = ["snapshot-save"] }', "snapshot-save", True, 2),
        ('{"operator": {"policy": "read", "capabilities": ["snapshot-save"]}}', "read snapshot-save", True, 2),
        ('operator { policy = "write" capabilities = ["snapshot-save"] }', "write", True, 1),
        ('operator { policy = "deny" capabilities = ["snapshot-save"] }', "deny", False, 1),
        ('operator { policy = "read" capabilities = [] }', "read", False, 1),
    ],
)
def test_an_operator_may_be_granted_to_save_backups_alone(text: str, stated: str, saves: bool, level: int) -> None:
    rules = parse_policy(text)
    assert (rules.operator, level_of_rules(rules)) == (stated, level)
    assert Acl([rules]).allows_operator("snapshot-save") == saves
    assert Acl([rules]).allows_area("operator", "read") == ("read" in stated or "write" in stated)
    assert not Acl([rules, Rules(operator="deny")]).allows_operator("snapshot-save")
    # A member of level 1 would not know what it means.
    assert level_of(PutAclPolicy("p", "", text, rules)) == level


def test_no_text_says_nothing() -> None:
    assert parse_policy("").empty


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("  ", "Invalid policy:   "),
        ('agent { policy = "list" }', 'Invalid agent policy: &acl.AgentPolicy{Policy:"list"}'),
        ('agent { policy = "scale" }', 'Invalid agent policy: &acl.AgentPolicy{Policy:"scale"}'),
        ('operator { policy = "read snapshot-save" }', "Invalid operator policy: &acl.OperatorPolicy{Policy:"),
        ('operator { capabilities = ["save"] }', "Invalid operator capability 'save', one of: snapshot-save"),
        ("operator {}", 'Invalid operator policy: &acl.OperatorPolicy{Policy:""}'),
        (
            'host_volume "a b" { policy = "read" }',
            'Invalid host volume name: &acl.HostVolumePolicy{Name:"a b", Policy:"read", Capabilities:[]string(nil)}',
        ),
        (
            'host_volume "a" { capabilities = ["x", "y"] }',
            "Invalid host volume capability 'x': "
            '&acl.HostVolumePolicy{Name:"a", Policy:"", Capabilities:[]string{"x", "y"}}',
        ),
        ('namespace { policy = "read" }', 'Invalid namespace name: &acl.NamespacePolicy{Name:"", '),
        ('namespace "%s" { policy = "read" }' % ("a" * 129), "Invalid namespace name: "),
        ('namespace "ñ" { policy = "read" }', "Invalid namespace name: "),
        ('plugin { policy = "read" } plugin { policy = "deny" }', "Failed to parse ACL Policy: plugin is given twice"),
        ('plugin { policy = "read" policy = "deny" }', "Failed to parse ACL Policy: policy is given twice"),
        (
            '{"plugin":{"policy":"deny"},"plugin":{"policy":"read"}}',
            "Failed to parse ACL Policy: plugin is given twice",
        ),
        ("plugin { policy = 1 }", "Failed to parse ACL Policy: policy: expected a string"),
        ('plugin = "read"', "Failed to parse ACL Policy: expected an object"),
        ('namespace "a" { capabilities = [["deny"]] }', "Failed to parse ACL Policy: capabilities: expected a list of"),
        ('namespace "a" {\n  policy = "read"', "At 2:18: object expected closing RBRACE got: EOF"),
        ('namespace "a" { policy = "read }', "At 1:26: literal not terminated"),
        ("namespace \"a\" { policy = 'read' }", "At 1:26: illegal character: '"),
        ("agent { policy = read }", "At 1:18: Unknown token: IDENT read"),
        ('agent { policy = "\\q" }', "At 1:18: illegal char escape"),
        ('agent { policy = "\\ud800" }', "At 1:18: illegal char escape"),
        ("agent { policy = <<E\nread\n", "At 1:18: heredoc not terminated"),
        ('namespace "a" { capabilities = ["deny" "deny"] }', "expected comma or list end, got: STRING"),
        ("}", "expected: IDENT | STRING got: RBRACE"),
        ("agent\0 {}", "a null character can't be part of a policy"),
        ("{", "expected: STRING got: EOF"),
        ("{]", "expected: STRING got: RBRACK"),
        ('{"a" 1}', "At 1:6: "),
    ],
)
def test_a_bad_policy_is_refused_and_the_fault_named(text: str, error: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(text)
    assert error in str(refused.value)


HALF = LONGEST_RULES // 2 - 100
BOMBS = {
    "blocks in blocks": 'a "b" {' * (HALF // 4),
    "blocks without end": "a {" * (HALF // 2),
    "lists in lists": "a = " + "[" * HALF + "]" * HALF,
    "objects in objects": "a = " + "{a=" * (HALF // 2),
    "JSON in JSON": '{"a":' * (HALF // 3),
    "JSON lists": '{"a":' + "[" * HALF + "]" * HALF + "}",
    "labels": 'a "b" ' * (HALF // 3),
    "quotes": '"' * (2 * HALF),
    "backslashes": '"' + "\\" * (2 * HALF),
    "interpolation": 'a = "' + "${" * HALF,
    "comments": "/*" * HALF,
    "comment ends": "/*" + "*" * (2 * HALF),
    "heredocs": "a = <<A\n" * (HALF // 5),
    "half heredocs": "<<A\n" * (HALF // 2),
    "stars": 'namespace "' + "*" * (2 * HALF) + '" {}',
    "spaces": " " * (2 * HALF) + "?",
    "names": "a" * (2 * HALF),
    "numbers": "a = " + "9" * (2 * HALF),
    "too much": "x" * (LONGEST_RULES + 1),
    "too many bytes": "é" * (LONGEST_RULES // 2 + 1),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
@pytest.mark.timeout(20)  # what isn't linear takes minutes
def test_a_text_made_to_hurt_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(text)
    assert len(str(refused.value)) < 2000


@given(st.text(alphabet='ab{}[]"=\\,#/*\n <-E', max_size=60) | st.text(max_size=60))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    with suppress(PolicyError):
        assert isinstance(parse_policy(text), Rules)


policies = st.builds(
    lambda namespaces, areas: (namespaces, areas),
    st.dictionaries(
        st.text("abc-*", min_size=1, max_size=6),
        st.fixed_dictionaries({"policy": st.sampled_from(sorted(NAMESPACE_POLICIES))}),
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(sorted(AREAS)), st.sampled_from(("deny", "read"))),
)


@given(policies)
def test_hcl_and_json_of_one_policy_mean_the_same(policy: tuple[dict[str, dict[str, str]], dict[str, str]]) -> None:
    namespaces, areas = policy
    blocks = [f'namespace "{name}" {{ policy = "{body["policy"]}" }}' for name, body in namespaces.items()]
    blocks += [f'{area} {{ policy = "{level}" }}' for area, level in areas.items()]
    whole: dict[str, Any] = {area: {"policy": level} for area, level in areas.items()}
    if namespaces:
        whole["namespace"] = namespaces
    if whole:
        assert parse_policy("\n".join(blocks)) == parse_policy(json.dumps(whole))
