"""`volstore operator`: against recorded answers, and against a node of our own where bytes matter."""

from __future__ import annotations

import json
import logging
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cluster.storage.sealing import Keyring
from tests.cli.conftest import Cli, write
from tests.cli.recorded import RecordedServer
from tests.http.cluster_admin import NODE, OneNode
from tests.http.registry import InProcessRegistry
from volstore.agent.sample import sample_nodes
from volstore.backup.archive import BackupMeta, pack
from volstore.backup.sealed import BackupKeys
from volstore.core.commands import DeleteNode
from volstore.http.endpoints.operator import operator_routes
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

CONFIGURATION = "/v1/operator/raft/configuration"


def member(name: str, id: str, leader: bool = False, voter: bool = True) -> dict[str, Any]:
    return {
        "Address": f"{name}:4647",
        "ID": id,
        "Leader": leader,
        "Name": name,
        "Node": f"{name}.global",
        "RaftProtocol": "3",
        "Voter": voter,
    }


def members(*found: dict[str, Any]) -> dict[str, Any]:
    return {"ClusterID": "c", "Index": 0, "Servers": list(found)}


async def test_peers_are_listed_as_nomads_command_lists_them(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", CONFIGURATION, json=members(member("a", "1", leader=True), member("b", "2", voter=False)))
    result = await cli("operator", "raft", "list-peers")
    assert result.stdout == (
        "Node      ID  Address  State     Voter  RaftProtocol\n"
        "a.global  1   a:4647   leader    true   3\n"
        "b.global  2   b:4647   follower  false  3\n"
    )


async def test_a_peer_is_removed_by_one_name_of_it(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("DELETE", "/v1/operator/raft/peer?id=s3", text="")
    server.will_answer("DELETE", "/v1/operator/raft/peer?address=c%3A4647", text="")
    assert (await cli("operator", "raft", "remove-peer", "-peer-id=s3")).stdout == "Removed peer s3\n"
    assert (await cli("operator", "raft", "remove-peer", "-peer-address", "c:4647")).code == 0
    for arguments in ((), ("-peer-id=a", "-peer-address=b")):
        assert (await cli("operator", "raft", "remove-peer", *arguments)).code == 2


async def test_what_the_server_refuses_is_told(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("PUT", "/v1/operator/raft/transfer-leadership", status=409, text="no other voter is connected")
    result = await cli("operator", "raft", "transfer-leadership")
    assert (result.code, result.stderr) == (
        1,
        "Error transferring leadership: no other voter is connected (409)\n",
    )


async def test_a_replacement_waits_for_the_new_ones_vote_before_the_old_one_goes(
    server: RecordedServer, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volstore.cli.operator._LOOK_EVERY", 0.001)
    a, c = member("a", "1", leader=True), member("c", "3")
    for found in (members(a, c), members(a, c), members(a, c, member("d", "4", voter=False))):
        server.will_answer("GET", CONFIGURATION, json=found)
    server.will_answer("GET", CONFIGURATION, json=members(a, c, member("d", "4")))
    server.will_answer("DELETE", "/v1/operator/raft/peer?id=3", text="")
    result = await cli("operator", "replace", "c", "d")
    assert (result.code, result.stdout.splitlines()[1:]) == (0, ["d is a member with a vote", "Removed peer 3"])


async def test_a_lost_disk_is_removed_before_its_successor_of_the_same_name(
    server: RecordedServer, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volstore.cli.operator._LOOK_EVERY", 0.001)
    a = member("a", "1", leader=True)
    server.will_answer("GET", CONFIGURATION, json=members(a, member("c", "3")))
    server.will_answer("DELETE", "/v1/operator/raft/peer?id=3", text="")
    server.will_answer("GET", CONFIGURATION, json=members(a))
    server.will_answer("GET", CONFIGURATION, json=members(a, member("c", "33")))
    result = await cli("operator", "replace", "c", "c")
    assert (result.code, result.stdout.splitlines()[0]) == (0, "Removed peer 3")


async def test_only_a_member_can_be_replaced(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", CONFIGURATION, json=members(member("a", "1")))
    assert (await cli("operator", "replace", "x", "y")).stderr == "x is not a member; members are a\n"


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcessRegistry]:
    """One node of our own; VOLSTORE_ADDR leads there."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    registry = InProcessRegistry()
    for command in sample_nodes():
        registry.apply(command)
    server = HttpServer(registry, HttpSettings(deadline=0.3), operator_routes(OneNode()))
    monkeypatch.setenv("VOLSTORE_ADDR", await server.start("127.0.0.1", 0))
    yield registry
    await server.stop()
    structlog.reset_defaults()


async def test_health_is_one_table_and_words(node: InProcessRegistry, cli: Cli) -> None:
    result = await cli("operator", "health")
    assert result.code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == "Node Role Term Applied Lag Index Digest Disk free Sync Version"
    assert " ".join(lines[1].split()) == "server1 leader 2 9 0 7 abababababab 80.0 GiB 1ms 0.1.0"
    assert lines[-1] == "No problems; 0 of the voters may fail."


async def test_bad_health_is_exit_code_1_and_says_what(server: RecordedServer, cli: Cli) -> None:
    lost = {"Name": "s2", "Node": None, "Why": "no answer"}
    body = {"FailureTolerance": 0, "Healthy": False, "Nodes": [lost], "Problems": ["s2 does not answer: no answer"]}
    for _ in range(2):
        server.will_answer("GET", "/v1/operator/health", json=body)
    result = await cli("operator", "health")
    assert (result.code, result.stderr) == (1, "1 problem\n")
    assert result.stdout.splitlines()[-1] == "* s2 does not answer: no answer"
    assert json.loads((await cli("operator", "health", "-json")).stdout) == body


def files() -> list[str]:
    return [path.name for path in Path().iterdir()]


def mode(file: str) -> int:
    return stat.S_IMODE(Path(file).stat().st_mode)


async def test_a_backup_goes_there_and_back(node: InProcessRegistry, cli: Cli) -> None:
    before = node.state.node_count()
    saved = await cli("operator", "snapshot", "save", "x.snap")
    assert (saved.code, saved.stderr) == (0, "")
    assert saved.stdout == f"State at index {node.state.index} saved to x.snap\n"
    assert mode("x.snap") == 0o600
    shown = await cli("operator", "snapshot", "inspect", "x.snap")
    assert f"Cluster = {NODE.cluster_id}\n" in shown.stdout
    assert json.loads((await cli("operator", "snapshot", "inspect", "-json", "x.snap")).stdout)["Term"] == 2
    for one in list(node.state.nodes()):
        node.apply(DeleteNode(one.id))
    assert node.state.node_count() == 0
    restored = await cli("operator", "snapshot", "restore", "x.snap")
    assert (restored.code, restored.stderr) == (0, "")
    assert node.state.node_count() == before
    assert restored.stdout.endswith(f"restored, at index {node.state.index}\n")


async def test_a_sealed_backup_is_told_for_one_and_names_its_key(node: InProcessRegistry, cli: Cli) -> None:
    meta, sealed = BackupKeys(Keyring([bytes(32)])).seal(BackupMeta("2-7-1", 7, 2, 0), [b"state"])
    packed = pack(meta, [sealed])
    write("x.snap", packed)
    shown = json.loads((await cli("operator", "snapshot", "inspect", "-json", "x.snap")).stdout)
    assert (shown["Sealed"], shown["KeyID"], shown["Index"]) == (True, meta.key, 7)
    assert f"KeyID   = {meta.key}\n" in (await cli("operator", "snapshot", "inspect", "x.snap")).stdout
    refused = await cli("operator", "snapshot", "restore", "x.snap")
    assert (refused.code, refused.stdout) == (1, "")
    assert f"validation: the backup is sealed under backup key {meta.key}, and this node has none" in refused.stderr


async def test_a_backup_that_is_named_by_nobody_is_named_by_the_time(node: InProcessRegistry, cli: Cli) -> None:
    result = await cli("operator", "snapshot", "save")
    (name,) = files()
    assert result.stdout.endswith(f"saved to {name}\n")


async def test_what_is_no_backup_is_not_sent(server: RecordedServer, cli: Cli) -> None:
    write("bad.snap", "nonsense")
    for command in ("inspect", "restore"):
        result = await cli("operator", "snapshot", command, "bad.snap")
        assert (result.code, result.stderr[:44]) == (1, "bad.snap: this is not a backup of volstore, ")
        assert (await cli("operator", "snapshot", command, "none")).stderr == (
            "Error reading none: No such file or directory\n"
        )


async def test_an_answer_that_was_damaged_on_its_way_leaves_no_file(server: RecordedServer, cli: Cli) -> None:
    server.will_answer("GET", "/v1/operator/snapshot", text="half of it")
    result = await cli("operator", "snapshot", "save", "x.snap")
    assert (result.code, result.stderr) == (1, "Error saving the snapshot: it was damaged in transit; try again\n")
    assert files() == []


async def test_a_backup_that_can_not_be_written_is_one_line(node: InProcessRegistry, cli: Cli) -> None:
    result = await cli("operator", "snapshot", "save", "none/x.snap")
    assert (result.code, result.stderr) == (1, "Error writing none/x.snap: No such file or directory\n")


async def test_a_report_of_a_defect_holds_what_could_be_had(node: InProcessRegistry, cli: Cli) -> None:
    result = await cli("operator", "debug", "-token=31d5a4e0-secret", "d.tar.gz")
    assert (result.code, result.stdout[:16]) == (0, "Wrote d.tar.gz; ")  # no metrics here
    assert mode("d.tar.gz") == 0o600
    with tarfile.open("d.tar.gz") as archive:
        # None is for folders alone, of which it has none.
        found = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    assert json.loads(found["d/health.json"])["Healthy"] is True
    assert b"404" in found["d/metrics.txt.failed"]
    assert not any(b"31d5a4e0-secret" in content for content in found.values())


async def test_only_a_members_directory_is_recovered_and_only_after_a_yes(cli: Cli) -> None:
    result = await cli("operator", "recover", "nowhere")
    assert (result.code, result.stderr) == (1, "nowhere is not a directory\n")
