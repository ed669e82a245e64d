"""Claims, allocations, nodes and instances on the command line, against volstore's own server and state machine."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from tests.cli.conftest import Cli
from tests.cli.recorded import RecordedServer
from tests.core.machine import allocation, controller, fingerprint, node, volume
from tests.http.registry import InProcessRegistry
from volstore.core.commands import (
    ClaimVolume,
    Command,
    DeleteAllocation,
    DeleteNode,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    SetNodeStatus,
)
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

ALLOCATION = "765d86f7-cdf4-f1ea-2437-f4adaababa28"
NODE = "00000001-1111-2222-3333-000000000001"
STUB = {"TaskGroup": "cache", "JobVersion": 2, "CreateTime": 0, "ModifyTime": 0}


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcessRegistry]:
    """Volume disk, claimed by nobody yet; an allocation that runs on a node, and another node."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    registry = InProcessRegistry()
    commands: tuple[Command, ...] = (
        PutNode(node(NODE, name="first", datacenter="dc1", controller_plugins={"p": controller()})),
        PutNode(node("2", name="second", node_plugins={"p": fingerprint(healthy=False, health_description="ill")})),
        RegisterVolumes("default", (volume("disk", access_mode="single-node-writer", secrets={"key": "s3cr3t"}),)),
        PutAllocations(
            (
                allocation(
                    ALLOCATION,
                    node_id=NODE,
                    stub={**STUB, "ClientStatus": "running", "DesiredStatus": "run", "NodeID": NODE},
                ),
                allocation("other", node_id=NODE, job_id="db"),
            )
        ),
    )
    for command in commands:
        assert registry.apply(command).status == 200
    server = HttpServer(registry, HttpSettings(deadline=0.3))
    monkeypatch.setenv("VOLSTORE_ADDR", await server.start("127.0.0.1", 0))
    yield registry
    await server.stop()
    structlog.reset_defaults()


def held(registry: InProcessRegistry) -> list[str]:
    found = registry.state.volume("default", "disk")
    assert found is not None
    return sorted({*found.read_claims, *found.write_claims})


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_a_volume_is_claimed_shown_and_released(registry: InProcessRegistry, cli: Cli) -> None:
    before = (await cli("volume", "status", "disk")).stdout
    assert "Claims" not in before
    assert before.endswith("Allocations\nNo allocations placed\n")
    claimed = await cli("volume", "claim", "-mode=write", "disk", ALLOCATION)
    assert (claimed.code, claimed.stderr) == (0, "")
    assert claimed.stdout == f"Claimed volume disk for allocation {ALLOCATION} (write)\n"
    shown = words((await cli("volume", "status", "disk")).stdout)
    assert shown[-6:] == [
        ["ID", "Node", "ID", "Task", "Group", "Version", "Desired", "Status", "Created", "Modified"],
        ["765d86f7", "00000001", "cache", "2", "run", "running", "<none>", "<none>"],
        [],
        ["Claims"],
        ["Allocation", "ID", "Node", "ID", "Mode", "State"],
        ["765d86f7", "00000001", "write", "taken"],
    ]
    whole = words((await cli("volume", "status", "-verbose", "disk")).stdout)
    assert whole[-1] == [ALLOCATION, NODE, "write", "taken"]
    assert "Claims" not in (await cli("volume", "status", "-short", "disk")).stdout
    released = await cli("volume", "release", "disk", ALLOCATION)
    assert (released.code, released.stdout) == (0, f"Volume disk is free of allocation {ALLOCATION}\n")
    again = await cli("volume", "release", "disk", ALLOCATION)
    assert (again.code, again.stdout) == (1, "")
    assert again.stderr == (
        f"Error releasing volume: nothing to release: allocation {ALLOCATION} has no claim on volume disk (404)\n"
    )
    assert (await cli("volume", "status", "disk")).stdout == before


async def test_secrets_are_printed_only_where_json_is_asked_for(registry: InProcessRegistry, cli: Cli) -> None:
    plain = await cli("volume", "claim", "disk", ALLOCATION)
    assert "s3cr3t" not in plain.stdout + plain.stderr
    claimed: dict[str, Any] = json.loads((await cli("volume", "claim", "-json", "disk", ALLOCATION)).stdout)
    assert claimed["Secrets"] == {"key": "s3cr3t"}
    released: dict[str, Any] = json.loads((await cli("volume", "release", "-json", "disk", ALLOCATION)).stdout)
    assert released["Secrets"] is None


async def test_a_refusal_is_told_in_the_servers_words_and_its_command_works(
    registry: InProcessRegistry, cli: Cli
) -> None:
    await cli("volume", "claim", "-mode=write", "disk", ALLOCATION)
    refused = await cli("volume", "claim", "-mode=write", "disk", "other")
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error claiming volume: volume max claim reached: ")
    assert len(refused.stderr.splitlines()) == 1
    command = refused.stderr.rpartition("free it with: volstore ")[2].removesuffix(") (409)\n").split()
    assert (await cli(*command)).code == 0
    assert (await cli("volume", "claim", "-mode=write", "disk", "other")).code == 0
    in_use = await cli("volume", "deregister", "disk")
    assert (in_use.code, "volume in use: disk: claimed by allocation other" in in_use.stderr) == (1, True)


async def test_a_volume_is_detached_from_a_node_by_the_beginning_of_its_id(
    registry: InProcessRegistry, cli: Cli
) -> None:
    await cli("volume", "claim", "disk", ALLOCATION)
    refused = await cli("volume", "detach", "disk", "0000")
    assert (refused.code, refused.stderr.split(":")[0]) == (1, "Error detaching volume")
    registry.apply(SetNodeStatus(NODE, "down"))
    detached = await cli("volume", "detach", "disk", "0000")
    assert (detached.code, detached.stdout, detached.stderr) == (0, "", "")
    assert held(registry) == []


async def test_a_volume_is_detached_from_a_node_that_is_gone(registry: InProcessRegistry, cli: Cli) -> None:
    registry.apply(DeleteNode(NODE))
    registry.apply(ClaimVolume("default", "disk", ALLOCATION, 0))
    assert held(registry) == []  # the plugin is ill now
    registry.apply(PutNode(node("3", controller_plugins={"p": controller()})))
    registry.apply(ClaimVolume("default", "disk", ALLOCATION, 0))
    assert held(registry) == [ALLOCATION]
    detached = await cli("volume", "detach", "disk", NODE[:8])
    assert (detached.code, detached.stderr) == (0, "")
    assert held(registry) == []


@pytest.mark.parametrize("node_id", ["2", "00000001", "gone"])
async def test_a_detach_of_nothing_says_so(registry: InProcessRegistry, cli: Cli, node_id: str) -> None:
    detached = await cli("volume", "detach", "disk", node_id)
    assert (detached.code, detached.stdout) == (1, "")
    assert detached.stderr == (
        f"Error detaching volume: nothing to detach: nothing on node {node_id} has a claim on volume disk (404)\n"
    )


async def test_short_ids_are_as_good_as_whole_ones_where_only_one_begins_so(
    registry: InProcessRegistry, cli: Cli
) -> None:
    registry.apply(RegisterVolumes("default", (volume("disk", access_mode="multi-node-multi-writer"),)))
    registry.apply(PutAllocations((allocation("7650-two", node_id=NODE),)))
    many = await cli("volume", "claim", "disk", "765")
    assert (many.code, many.stderr) == (1, 'Prefix "765" matched multiple allocations (2); give the whole ID\n')
    none = await cli("volume", "claim", "disk", "9")
    assert (none.code, none.stderr[:51]) == (1, "Error claiming volume: Unknown allocation: 9: none ")
    claimed = await cli("volume", "claim", "-attachment-mode=file-system", "disk", ALLOCATION[:8])
    assert claimed.stdout == f"Claimed volume disk for allocation {ALLOCATION} (read)\n"
    registry.apply(DeleteAllocation(ALLOCATION))  # its claim knows it
    released = await cli("volume", "release", "disk", "765")
    assert released.stdout == f"Volume disk is free of allocation {ALLOCATION}\n"
    assert held(registry) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("claim", "disk"),
        ("claim", "", "a"),
        ("release", "disk", ""),
        ("detach", "disk", ""),
        ("claim", "-mode=x", "a", "b"),
    ],
)
async def test_what_is_missing_is_a_wrong_argument(
    registry: InProcessRegistry, cli: Cli, arguments: tuple[str, ...]
) -> None:
    assert (await cli("volume", *arguments)).code == 2


async def test_nodes_are_listed_and_one_is_shown_with_its_plugins_and_volumes(
    registry: InProcessRegistry, cli: Cli
) -> None:
    await cli("volume", "claim", "-mode=write", "disk", ALLOCATION)
    assert words((await cli("node", "status")).stdout) == [
        ["ID", "DC", "Name", "Class", "Drain", "Eligibility", "Status"],
        ["00000001", "dc1", "first", "<none>", "false", "eligible", "ready"],
        ["2", "<none>", "second", "<none>", "false", "eligible", "ready"],
    ]
    shown = (await cli("node", "status", "000")).stdout
    assert f"ID              = {NODE}\n" in shown
    assert "CSI Controllers = p\n" in shown
    assert words(shown)[-3:] == [
        ["Claimed", "Volumes"],
        ["ID", "Namespace", "Plugin", "ID", "Readers", "Writers", "Access", "Mode"],
        ["disk", "default", "p", "0", "1", "single-node-writer"],
    ]
    assert "Claimed" not in (await cli("node", "status", "2")).stdout
    assert len((await cli("node", "status", "-short", NODE)).stdout.splitlines()) == 9
    assert json.loads((await cli("node", "status", "-json", "2")).stdout)["Name"] == "second"
    assert (await cli("node", "status", "-t", "{{.Status}}", "2")).stdout == "ready\n"


async def test_a_node_that_is_none_or_more_than_one_is_told(registry: InProcessRegistry, cli: Cli) -> None:
    unknown = await cli("node", "status", "x")
    assert (unknown.code, unknown.stderr) == (1, 'No node(s) with prefix or ID "x" found\n')
    registry.apply(PutNode(node("22")))
    registry.apply(PutNode(node("23")))
    assert (await cli("node", "status", "2")).code == 0  # a whole ID, and the beginning of others
    registry.apply(DeleteNode("2"))
    ambiguous = await cli("node", "status", "2")
    assert (ambiguous.code, ambiguous.stderr) == (1, 'Prefix "2" matched multiple nodes (2); give the whole ID\n')


async def test_without_nodes_and_without_a_server_it_is_said(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/nodes", json=[])
    assert (await cli("node", "status")).stdout == "No nodes registered\n"
    server.will_answer("GET", "/v1/nodes", status=503, text="No cluster leader")
    assert (await cli("node", "status")).stderr == "Error querying node: No cluster leader (503)\n"


async def test_a_plugin_is_shown_with_its_instances(registry: InProcessRegistry, cli: Cli) -> None:
    shown = words((await cli("plugin", "status", "p")).stdout)
    place = shown.index(["Controllers"])
    assert shown[place:] == [
        ["Controllers"],
        ["Node", "ID", "Healthy", "Version", "Alloc", "ID", "Description"],
        ["00000001", "true", "1.0", "<none>", "<none>"],
        [],
        ["Nodes"],
        ["Node", "ID", "Healthy", "Version", "Alloc", "ID", "Description"],
        ["00000001", "true", "1.0", "<none>", "<none>"],
        ["2", "false", "1.0", "<none>", "ill"],
    ]
    assert ["Nodes"] not in words((await cli("plugin", "status", "-short", "p")).stdout)
