"""The command line against volstore's own HTTP server and state machine: a whole conversation, as a user has it."""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import AsyncIterator

import pytest
import structlog

from tests.cli.conftest import Cli, write
from tests.http.registry import InProcessRegistry
from volstore.agent.sample import sample_nodes, try_next
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcessRegistry]:
    """What --dev starts with, served; VOLSTORE_ADDR leads there. Its logs would come out as the command's output."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    registry = InProcessRegistry()
    for command in sample_nodes():
        registry.apply(command)
    server = HttpServer(registry, HttpSettings(deadline=0.3))
    monkeypatch.setenv("VOLSTORE_ADDR", await server.start("127.0.0.1", 0))
    yield registry
    await server.stop()
    structlog.reset_defaults()


async def test_a_volume_goes_through_its_life(registry: InProcessRegistry, cli: Cli) -> None:
    assert (await cli("volume", "status")).stderr == "No CSI volumes\n"
    assert (await cli("volume", "init")).code == 0
    registered = await cli("volume", "register", "volume.hcl")
    assert (registered.code, registered.stdout, registered.stderr) == (0, "", "")

    listed = await cli("volume", "status")
    assert listed.stdout.splitlines()[2].split()[0] == "database-disk"
    for identifier in ("database-disk", "data"):
        shown = await cli("volume", "status", identifier)
        assert "ID                   = database-disk\n" in shown.stdout
        assert "Provider             = ebs\n" in shown.stdout
        assert "Schedulable          = true\n" in shown.stdout
        assert "Nodes Healthy        = 15\n" in shown.stdout
        assert (await cli("status", identifier)).stdout == shown.stdout
    as_json = json.loads((await cli("volume", "status", "-json", "database-disk")).stdout)
    assert (as_json["ID"], as_json["Secrets"]) == ("database-disk", None)

    assert (await cli("volume", "deregister", "data")).code == 1
    assert (await cli("volume", "deregister", "-force", "database-disk")).code == 0
    again = await cli("volume", "deregister", "database-disk")
    assert (again.code, again.stderr) == (1, "Error deregistering volume: volume not found: database-disk (404)\n")


async def test_lists_are_filtered_and_paged(registry: InProcessRegistry, cli: Cli) -> None:
    nodes = [line.split()[0] for line in (await cli("node", "status", "-verbose")).stdout.splitlines()[1:]]
    first = await cli("node", "status", "-verbose", "-per-page=2")
    assert [line.split()[0] for line in first.stdout.splitlines()[1:]] == nodes[:2]
    assert first.stderr == (
        f"Results have been paginated. For the next page, run the command again with -page-token {nodes[2]}\n"
    )
    rest = await cli("node", "status", "-verbose", "-page-token", nodes[2])
    assert [line.split()[0] for line in rest.stdout.splitlines()[1:]] == nodes[2:]
    assert rest.stderr == ""
    turned = await cli("node", "status", "-verbose", "-reverse", "-per-page", "1")
    assert turned.stdout.splitlines()[1].split()[0] == nodes[-1]
    chosen = await cli("node", "status", "-json", "-filter", f'ID == "{nodes[3]}"')
    assert [item["ID"] for item in json.loads(chosen.stdout)] == [nodes[3]]
    for command in (("volume", "status"), ("plugin", "status"), ("node", "status"), ("namespace", "list")):
        refused = await cli(*command, "-filter", "x = y")
        assert refused.code == 1
        assert "failed to read filter expression: 1:3 (2): no match found" in refused.stderr
    for group in ("volume", "plugin", "node"):
        assert (await cli(group, "status", "-per-page=1", "x")).code == 2


async def test_the_modern_fields_of_a_file_come_back(registry: InProcessRegistry, cli: Cli) -> None:
    write(
        "v.hcl",
        """
        type = "csi"
        id = "v"
        plugin_id = "plugin-id1"
        capacity_min = "10GiB"
        capability {
          access_mode = "single-node-writer"
          attachment_mode = "file-system"
        }
        topology_request { required { topology { segments { "topology.example/zone" = "a" } } } }
        """,
    )
    assert (await cli("volume", "register", "v.hcl")).stderr == ""
    shown = json.loads((await cli("volume", "status", "-json", "v")).stdout)
    assert shown["RequestedCapacityMin"] == 10 << 30
    assert shown["RequestedTopologies"]["Required"] == [{"Segments": {"topology.example/zone": "a"}}]


async def test_a_volume_without_its_plugin_is_refused_in_the_servers_words(
    registry: InProcessRegistry, cli: Cli
) -> None:
    write("y.hcl", 'type = "csi"\nid = "y"\n')
    result = await cli("volume", "register", "y.hcl")
    assert result.code == 1
    assert result.stderr.startswith("Error registering volume: validation: missing plugin id, missing access mode")
    assert result.stderr.endswith("(400)\n")


async def test_namespaces_that_do_not_exist_are_refused(registry: InProcessRegistry, cli: Cli) -> None:
    await cli("volume", "init")
    result = await cli("volume", "register", "-namespace=nowhere", "volume.hcl")
    assert result.code == 1
    assert "nonexistent namespace nowhere" in result.stderr


async def test_the_sample_plugin_is_shown(registry: InProcessRegistry, cli: Cli) -> None:
    listed = await cli("plugin", "status")
    assert listed.stdout.splitlines()[2].split() == ["plugin-id1", "ebs", "3/3", "15/18"]
    shown = await cli("plugin", "status", "plug")
    assert "Version              = 1.0.1\n" in shown.stdout
    assert "Nodes Expected       = 18\n" in shown.stdout
    assert (await cli("plugin", "status", "nope")).code == 1


async def test_servers_and_their_leader_are_shown(registry: InProcessRegistry, cli: Cli) -> None:
    members = await cli("server", "members")
    assert (members.code, members.stderr) == (0, "")
    assert "true" in members.stdout.splitlines()[1].split()
    status = await cli("status")
    assert (status.code, status.stderr) == (0, "")
    assert "Servers    = 1 of 1 alive\n" in status.stdout


async def test_the_cli_line_of_what_to_try_next_works(registry: InProcessRegistry, cli: Cli) -> None:
    write(
        "v.json",
        '{"type": "csi", "id": "volume-id1", "plugin_id": "plugin-id1", "access_mode": "single-node-writer", '
        '"attachment_mode": "file-system"}',
    )
    assert (await cli("volume", "register", "v.json")).stderr == ""
    line = shlex.split(try_next(os.environ["VOLSTORE_ADDR"])[2])
    assert "ID                   = volume-id1\n" in (await cli(*line[1:])).stdout


async def test_nodes_and_allocations_are_reported_from_a_file(registry: InProcessRegistry, cli: Cli) -> None:
    node = {"ID": "own", "Status": "ready", "CSINodePlugins": {"p": {"Healthy": True}}}
    placed = {"ID": "a1", "NodeID": "own", "JobID": "web", "ClientStatus": "running", "DesiredStatus": "run"}
    write("fleet.json", json.dumps({"Nodes": [node], "Allocations": [placed]}))
    result = await cli("node", "report", "fleet.json")
    assert (result.code, result.stdout) == (0, "Reported 1 nodes and 1 allocations\n")
    assert registry.state.node("own") is not None
    assert registry.state.allocation("a1") is not None


@pytest.mark.parametrize("text", ["{", "[]", '{"Node": []}', '{"Nodes": [{}]}'])
async def test_a_report_that_is_none_is_refused(registry: InProcessRegistry, cli: Cli, text: str) -> None:
    write("fleet.json", text)
    before = registry.state.index
    result = await cli("node", "report", "fleet.json")
    assert result.code == 1
    assert "fleet.json" in result.stderr
    assert registry.state.index == before


async def test_mounting_without_an_agent_says_what_to_start(cli: Cli) -> None:
    for command in (("mount", "v", "/srv/v"), ("unmount", "v"), ("mounts",)):
        result = await cli(*command, "--socket", "none.sock")
        assert result.code == 1
        assert "start it with volstore node run" in result.stderr
