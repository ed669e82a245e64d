"""What policies grant: expansions, globs, denials, and the laws that hold whatever they are."""

from __future__ import annotations

import fnmatch
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volstore.core.acl.policy import parse_policy
from volstore.core.acl.rights import (
    AREAS,
    CAPABILITIES,
    MANAGEMENT,
    NAMESPACE_POLICIES,
    Acl,
    NamedRule,
    Rules,
    glob_matches,
)

NAMES = ("default", "prod", "prod-web", "prod-db", "test")
GLOBS = ("*", "prod*", "prod-*", "*-web", "p*-w*", "default", "prod", "prod-web", "d*t", "**")

names = st.sampled_from(NAMES)
rules = st.builds(
    Rules,
    namespaces=st.lists(
        st.builds(
            NamedRule,
            name=st.sampled_from(GLOBS),
            capabilities=st.lists(st.sampled_from(sorted(CAPABILITIES)), max_size=3).map(tuple),
        ),
        max_size=4,
    ).map(tuple),
    **{area: st.sampled_from(("", *levels)) for area, levels in AREAS.items()},
)


def acl(*texts: str) -> Acl:
    return Acl(parse_policy(text) for text in texts)


def namespace(name: str, *capabilities: str, policy: str = "") -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'namespace "{name}" {{ policy = "{policy}" capabilities = [{listed}] }}'


@pytest.mark.parametrize(("policy", "granted"), NAMESPACE_POLICIES.items())
def test_a_policy_grants_what_it_stands_for_there_and_nowhere_else(policy: str, granted: tuple[str, ...]) -> None:
    made = acl(namespace("default", policy=policy))
    for capability in CAPABILITIES - {"deny"}:
        assert made.allows(capability, "default") == (capability in granted)
        assert not made.allows(capability, "other")


def test_write_includes_read() -> None:
    assert set(NAMESPACE_POLICIES["read"]) < set(NAMESPACE_POLICIES["write"])


def test_deny_wins_in_one_policy_and_over_others_in_any_order() -> None:
    texts = [namespace("default", policy="write"), namespace("default", "deny", "csi-read-volume")]
    for order in itertools.permutations(texts):
        assert not acl(*order).allows("csi-read-volume", "default")
    assert not acl("\n".join(texts)).allows("csi-read-volume", "default")


@pytest.mark.parametrize(
    ("globs", "name", "chosen"),
    [
        (("*", "prod-*"), "prod-web", "prod-*"),
        (("prod-*", "prod-web"), "prod-web", "prod-web"),
        (("*-web", "prod*"), "prod-web", "*-web"),  # both leave four characters to chance: the first by name
        (("prod-w*", "*-web"), "prod-web", "prod-w*"),
        (("prod*",), "prod", "prod*"),
        (("prod-*",), "prod", None),
        (("*",), "", "*"),
    ],
)
def test_the_most_specific_name_counts_alone(globs: tuple[str, ...], name: str, chosen: str | None) -> None:
    made = Acl([Rules(tuple(NamedRule(glob, capabilities=(f"of {glob}",)) for glob in globs))])
    assert made.capabilities(name) == (frozenset() if chosen is None else {f"of {chosen}"})


def test_an_exact_deny_holds_against_a_glob_and_a_globs_deny_not_against_an_exact_grant() -> None:
    assert not acl(namespace("*", policy="write"), namespace("prod", "deny")).allows("csi-read-volume", "prod")
    assert acl(namespace("*", "deny"), namespace("prod", policy="read")).allows("csi-read-volume", "prod")


@pytest.mark.parametrize(
    ("stated", "allowed"),
    [
        ((), ""),
        (("list",), "list"),
        (("read",), "list read"),
        (("list", "read"), "list read"),
        (("deny", "read"), ""),
        (("read", "deny", "list"), ""),
    ],
)
def test_of_an_area_the_highest_level_counts_unless_one_denies(stated: tuple[str, ...], allowed: str) -> None:
    made = acl(*(f'plugin {{ policy = "{level}" }}' for level in stated))
    assert [level for level in ("list", "read") if made.allows_area("plugin", level)] == allowed.split()
    assert not made.allows_area("node", "read")


def test_management_may_do_everything_everywhere() -> None:
    assert all(MANAGEMENT.allows(capability, "any") for capability in CAPABILITIES)
    assert all(MANAGEMENT.allows_area(area, level) for area, levels in AREAS.items() for level in levels[1:])


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_a_glob_matches_what_the_shell_says(glob: str, name: str) -> None:
    assert glob_matches(glob, name) == fnmatch.fnmatchcase(name, glob)


def test_a_glob_of_many_stars_is_quick_to_fail() -> None:
    assert not glob_matches("a*" * 5000 + "b", "a" * 20_000)


@given(st.lists(rules, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_policies_means_nothing(policies: list[Rules], random: object) -> None:
    shuffled = list(policies)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis's Random
    one, other = Acl(policies), Acl(shuffled)
    for name in NAMES:
        assert one.capabilities(name) == other.capabilities(name)
    for area, levels in AREAS.items():
        assert [one.allows_area(area, level) for level in levels] == [
            other.allows_area(area, level) for level in levels
        ]


@given(st.lists(rules, max_size=4), rules, names)
def test_one_more_policy_of_the_same_names_takes_rights_away_by_deny_alone(
    policies: list[Rules], more: Rules, name: str
) -> None:
    """More specific names aside, which hide less specific ones whatever they say."""
    known = {rule.name for policy in policies for rule in policy.namespaces}
    more = Rules(tuple(rule for rule in more.namespaces if rule.name in known))
    before, after = Acl(policies).capabilities(name), Acl([*policies, more]).capabilities(name)
    assert before <= after or after == {"deny"}


@given(st.lists(rules, max_size=4), names)
def test_nothing_is_granted_beside_a_denial(policies: list[Rules], name: str) -> None:
    granted = Acl(policies).capabilities(name)
    assert "deny" not in granted or granted == {"deny"}


@given(st.lists(rules, max_size=3), names, st.sampled_from(sorted(CAPABILITIES)))
def test_what_no_policy_names_is_granted_nowhere(policies: list[Rules], name: str, capability: str) -> None:
    named = any(capability in rule.capabilities for policy in policies for rule in policy.namespaces)
    assert named or not Acl(policies).allows(capability, name)
