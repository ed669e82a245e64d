"""`volstore acl` and `volstore namespace` against volstore's own server, with access control on."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from tests.cli.conftest import Cli, write
from tests.http.registry import InProcessRegistry
from volstore.agent.sample import sample_nodes
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

RULES = 'namespace "default" { policy = "read" }\n'
NO_ACCESSOR = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[InProcessRegistry]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    registry = InProcessRegistry()
    for command in sample_nodes():
        registry.apply(command)
    settings = HttpSettings(deadline=0.3, acl_enabled=True, bootstrap_reset=tmp_path / "acl-bootstrap-reset")
    server = HttpServer(registry, settings)
    monkeypatch.setenv("VOLSTORE_ADDR", await server.start("127.0.0.1", 0))
    yield registry
    await server.stop()
    structlog.reset_defaults()


@pytest.fixture
async def management(registry: InProcessRegistry, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """The accessor of the bootstrap token, which every command asks with."""
    made = json.loads((await cli("acl", "bootstrap", "-json")).stdout)
    monkeypatch.setenv("VOLSTORE_TOKEN", made["SecretID"])
    return str(made["AccessorID"])


def shown(text: str) -> dict[str, str]:
    """`Name = value` lines."""
    return {name.strip(): value for name, _, value in (line.partition(" = ") for line in text.splitlines())}


async def test_bootstrap_shows_the_token_once_and_again_only_with_the_reset_file(
    registry: InProcessRegistry, cli: Cli
) -> None:
    first = await cli("acl", "bootstrap")
    token = shown(first.stdout)
    assert (first.code, token["Name"], token["Type"], token["Global"], token["Policies"]) == (
        0,
        "Bootstrap Token",
        "management",
        "true",
        "n/a",
    )
    again = await cli("acl", "bootstrap")
    refused = re.fullmatch(
        r"Error bootstrapping: ACL bootstrap already done \(reset index: (\d+)\) \(400\)\n", again.stderr
    )
    assert again.code == 1
    assert refused is not None, again.stderr
    write("acl-bootstrap-reset", f"{refused[1]}\n")
    second = shown((await cli("acl", "bootstrap")).stdout)
    assert second["Secret ID"] != token["Secret ID"]
    assert (await cli("acl", "bootstrap")).code == 1  # the file allows it once


async def test_a_policy_and_its_token_go_through_their_lives(
    management: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("read.hcl", RULES)
    applied = await cli("acl", "policy", "apply", "-description", "to look", "readers", "read.hcl")
    assert (applied.code, applied.stdout) == (0, 'Successfully wrote "readers" ACL policy!\n')
    assert (await cli("acl", "policy", "list")).stdout == "Name     Description\nreaders  to look\n"
    info = await cli("acl", "policy", "info", "readers")
    assert "Name        = readers\nDescription = to look\n" in info.stdout
    assert info.stdout.endswith(f"\nRules\n\n{RULES}")

    created = shown((await cli("acl", "token", "create", "-name", "ops", "-policy", "readers", "-ttl", "8h")).stdout)
    assert (created["Name"], created["Type"], created["Policies"]) == ("ops", "client", "readers")
    assert created["Expiration Time"] > created["Create Time"]
    listed = (await cli("acl", "token", "list")).stdout.splitlines()
    assert {line.split("  ")[0] for line in listed[1:]} == {"Bootstrap Token", "ops"}
    assert created["Secret ID"] not in (await cli("acl", "token", "info", created["Accessor ID"])).stdout

    changed = shown((await cli("acl", "token", "update", "-name", "new", created["Accessor ID"])).stdout)
    assert (changed["Name"], changed["Policies"], "Secret ID" in changed) == ("new", "readers", False)

    with monkeypatch.context() as patch:
        patch.setenv("VOLSTORE_TOKEN", created["Secret ID"])
        assert shown((await cli("acl", "token", "self")).stdout)["Name"] == "new"
        assert (await cli("volume", "status")).code == 0
        assert (await cli("acl", "token", "list")).stderr == "Error listing ACL tokens: Permission denied (403)\n"

    gone = await cli("acl", "token", "delete", created["Accessor ID"])
    assert gone.stdout == f"Token {created['Accessor ID']} successfully deleted\n"
    assert (await cli("acl", "policy", "delete", "readers")).stdout == "Successfully deleted readers policy!\n"
    assert (await cli("acl", "policy", "list")).stderr == "No policies found\n"
    with monkeypatch.context() as patch:
        patch.setenv("VOLSTORE_TOKEN", created["Secret ID"])
        assert "ACL token not found" in (await cli("volume", "status")).stderr


async def test_a_token_is_found_by_the_beginning_of_its_accessor(management: str, cli: Cli) -> None:
    made = json.loads((await cli("acl", "token", "create", "-type=management", "-name=one", "-json")).stdout)
    accessor = made["AccessorID"]
    shown_as = json.loads((await cli("acl", "token", "info", "-json", accessor[:8])).stdout)
    assert shown_as["AccessorID"] == accessor
    changed = json.loads((await cli("acl", "token", "update", "-name=two", "-json", accessor[:8])).stdout)
    assert (changed["AccessorID"], changed["Name"]) == (accessor, "two")
    unknown = await cli("acl", "token", "info", "zzzz")
    assert (unknown.code, "404" in unknown.stderr) == (1, True)
    deleted = await cli("acl", "token", "delete", accessor[:8])
    assert (deleted.code, deleted.stdout) == (0, f"Token {accessor} successfully deleted\n")


async def test_rules_come_from_stdin_too_and_bad_ones_are_told_in_one_line(management: str, cli: Cli) -> None:
    assert (await cli("acl", "policy", "apply", "p", "-", stdin=RULES.encode())).code == 0
    refused = await cli("acl", "policy", "apply", "p", "-", stdin=b'plugin { policy = "write" }')
    assert (refused.code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert 'Invalid plugin policy: &acl.PluginPolicy{Policy:"write"}' in refused.stderr
    assert (await cli("acl", "policy", "apply", "p", "none.hcl")).stderr == (
        "Failed to read none.hcl: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("acl", "policy", "info", "none"), "Error fetching info on ACL policy: ACL policy not found (404)"),
        (("acl", "token", "info", NO_ACCESSOR), "Error fetching token: ACL token not found (404)"),
        (("acl", "token", "update", NO_ACCESSOR), "Error updating token: ACL token not found (404)"),
        (
            ("acl", "token", "delete", NO_ACCESSOR),
            f"Error deleting token: Cannot delete nonexistent tokens: {NO_ACCESSOR} (400)",
        ),
        (
            ("acl", "token", "create"),
            "Error creating token: token 0 invalid: 1 error occurred: * client token missing policies (400)",
        ),
        (("namespace", "inspect", "none"), "Error querying namespace: Namespace not found (404)"),
        (("namespace", "delete", "none"), "Error deleting namespace: namespace not found: none (404)"),
        (
            ("namespace", "delete", "default"),
            "Error deleting namespace: validation: the default namespace cannot be deleted (400)",
        ),
    ],
)
async def test_what_is_not_there_or_not_right_is_said_in_one_line(
    management: str, cli: Cli, arguments: tuple[str, ...], error: str
) -> None:
    result = await cli(*arguments)
    assert (result.code, result.stdout, result.stderr) == (1, "", error + "\n")


async def test_a_namespace_goes_through_its_life(management: str, cli: Cli) -> None:
    applied = await cli("namespace", "apply", "-description", "for the web", "web")
    assert applied.stdout == 'Successfully applied namespace "web"!\n'
    assert (await cli("namespace", "apply", "web")).code == 0  # without a description: the old one stays
    listed = await cli("namespace", "list")
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [
        ["default", "<none>"],
        ["web", "for", "the", "web"],
    ]
    assert json.loads((await cli("namespace", "inspect", "web")).stdout)["Description"] == "for the web"
    assert (await cli("volume", "init")).code == 0
    assert (await cli("volume", "register", "-namespace", "web", "volume.hcl")).code == 0
    refused = await cli("namespace", "delete", "web")
    assert (refused.code, "namespace web has volumes, database-disk among them" in refused.stderr) == (1, True)
    assert (await cli("volume", "deregister", "-namespace", "web", "database-disk")).code == 0
    assert (await cli("namespace", "delete", "web")).stdout == 'Successfully deleted namespace "web"!\n'
    assert "web" not in (await cli("namespace", "list")).stdout
