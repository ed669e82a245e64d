"""The whole road: a volume is mounted, written, released, and mounted on another host, whatever is killed meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.csi.driver import SECRET, Fault
from tests.csi.fleet import Fleet, Host, fleet_of
from tests.csi.world import PLUGIN, needs_root, until

pytestmark = needs_root


def two_hosts(fleet: Fleet) -> tuple[Host, Host]:
    one, two = fleet.host("h1"), fleet.host("h2")
    for host in (one, two):
        host.start()
    one.ready()
    fleet.volume()
    return one, two.ready()


def one_host(fleet: Fleet) -> Host:
    host = fleet.host("h1")
    host.start()
    host.ready()
    fleet.volume()
    return host


def nothing_left(*hosts: Host, doubts: bool = False) -> None:
    """`doubts`: a call failed or was cut off, so the agent remembers for some time that it may be carried out late."""
    for host in hosts:
        until(
            lambda host=host: [one for one in host.leftovers() if not doubts or not one.endswith(".json")] == [],  # type: ignore[misc]
            lambda host=host: f"{host.leftovers()} {host.text()}",  # type: ignore[misc]
        )


def test_a_volume_goes_from_host_to_host(fleet: Fleet) -> None:
    one, two = two_hosts(fleet)
    path = one.mount()
    assert (path / "data").read_text() == "precious"
    (path / "more").write_text("from h1")
    code, _, err = two.run("mount", "--wait", "0s", "db1", str(two.user / "db1"))
    assert code == 1
    assert one.id in err
    assert not two.holds()
    one.unmount()
    assert not one.holds()
    moved = two.mount()
    assert (moved / "more").read_text() == "from h1"
    two.unmount()
    nothing_left(one, two)
    shown = fleet.shown()
    assert not shown["WriteClaims"]
    assert not shown["PastClaims"]
    until(lambda: len(fleet.calls("ControllerUnpublishVolume")) == 2, "it was detached from both")
    nodes = [call["request"]["node_id"] for call in fleet.calls("ControllerPublishVolume")]
    assert nodes == ["storage-h1", "storage-h2"]


def test_the_second_host_waits_for_the_first(fleet: Fleet) -> None:
    one, two = two_hosts(fleet)
    one.mount()
    waiting = two.popen("mount", "db1", str(two.user / "db1"))
    assert waiting.stderr is not None
    assert "one node at a time" in waiting.stderr.readline()
    one.unmount()
    out, err = waiting.communicate(timeout=100)
    assert (waiting.returncode, out.strip()) == (0, str(two.user / "db1")), err


def test_a_mount_that_is_broken_off_leaves_nothing(fleet: Fleet) -> None:
    host = one_host(fleet)
    fleet.faults(Fault(call="NodePublishVolume", kind="fails", times=1000))
    mounting = host.popen("mount", "db1", str(host.user / "db1"))
    assert mounting.stderr is not None
    assert "a fault of the test" in mounting.stderr.readline()
    mounting.send_signal(signal.SIGINT)
    mounting.wait(60)
    fleet.faults()
    nothing_left(host, doubts=True)
    until(lambda: not fleet.shown()["WriteClaims"] and not fleet.shown()["PastClaims"], "the claim is gone")


def test_an_agent_that_was_killed_goes_on_with_what_is_mounted(fleet: Fleet) -> None:
    one, two = two_hosts(fleet)
    path = one.mount()
    one.kill_agent()
    assert (path / "data").read_text() == "precious"
    one.start_agent()
    one.ready()
    until(lambda: one.run("mounts")[1].count("published") == 1, one.text)
    assert len(fleet.calls("NodePublishVolume")) == 1
    one.unmount()
    two.mount()
    nothing_left(one)


def test_agent_and_driver_killed_while_they_mount(fleet: Fleet) -> None:
    host = one_host(fleet)
    fleet.faults(Fault(call="NodeStageVolume", kind="late", seconds=3))
    mounting = host.popen("mount", "db1", str(host.user / "db1"))
    until(lambda: fleet.calls("NodeStageVolume"), "staging began")
    host.kill_agent()
    host.kill_driver()
    assert mounting.wait(60) == 1  # the agent that it asked is gone
    host.start()
    host.ready()
    # Nobody took the claim back: the volume comes up all the same, and a repeat of the command finds it.
    assert (host.mount() / "data").read_text() == "precious"
    host.unmount()
    nothing_left(host, doubts=True)


def test_the_leader_is_killed_in_the_middle(tmp_path: Path) -> None:
    with fleet_of(tmp_path, servers=3, attaches=True, needs_secret=True) as fleet:
        one, two = two_hosts(fleet)
        fleet.faults(Fault(call="ControllerPublishVolume", kind="late", seconds=2))
        mounting = one.popen("mount", "db1", str(one.user / "db1"))
        until(lambda: fleet.calls("ControllerPublishVolume"), "attaching began")
        leader = fleet.ask("GET", "/v1/status/leader")
        victim = next(server for server in fleet.servers if server.raft == leader)
        victim.kill()
        out, err = mounting.communicate(timeout=100)
        assert (mounting.returncode, out.strip()) == (0, str(one.user / "db1")), (err, one.text())
        code, _, _ = two.run("mount", "--wait", "0s", "db1", str(two.user / "db1"))
        assert code == 1
        assert not two.holds()
        one.unmount()
        two.mount()
        nothing_left(one)


def test_a_fenced_host_gives_up_its_volumes_when_it_returns(fleet: Fleet) -> None:
    one, two = two_hosts(fleet)
    one.mount()
    assert fleet.ask("PUT", f"/v1/node/{one.id}/fence", {"Reason": "test"}) is None  # it is heard
    assert fleet.shown()["WriteClaims"]
    one.kill_agent()
    until(lambda: fleet.node(one.id)["Status"] == "down", "its agent is silent")
    code, _, err = two.run("mount", "--wait", "0s", "db1", str(two.user / "db1"))
    assert code == 1
    assert f"volstore node fence {one.id}" in err
    fleet.ask("PUT", f"/v1/node/{one.id}/fence", {"Reason": "its power was cut"})
    two.mount()
    assert one.holds()  # in truth it wasn't off
    one.start_agent()
    until(lambda: not one.holds(), one.text)
    nothing_left(one)
    code, _, err = one.run("mount", "--wait", "0s", "db1", str(one.user / "db1"))
    assert code == 1
    assert "its power was cut" in err
    until(lambda: not fleet.ask("GET", f"/v1/node/{one.id}/volumes")["Revoked"], "it reported that")
    fleet.ask("DELETE", f"/v1/node/{one.id}/fence")
    two.unmount()
    one.mount()


def test_readers_share_and_cannot_write(fleet: Fleet) -> None:
    fleet.driver_settings.attaches = False
    hosts = [fleet.host("h1"), fleet.host("h2")]
    for host in hosts:
        host.start()
        host.ready()
    fleet.volume(mode="multi-node-reader-only")
    for host in hosts:
        path = host.mount("--ro")
        with pytest.raises(OSError, match="Read-only"):
            (path / "data").write_text("no")
    for host in hosts:
        host.unmount()
    nothing_left(*hosts)


def test_no_secret_is_in_any_file_or_log(fleet: Fleet, tmp_path: Path) -> None:
    one, _ = two_hosts(fleet)
    one.mount()
    one.unmount()
    files = [path for path in one.root.rglob("*") if path.is_file()] + list(tmp_path.glob("*.log"))
    assert files
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
    assert PLUGIN in one.run("mounts", "--json")[1] or one.run("mounts")[1] == "Nothing is mounted"


def test_two_agents_do_not_share_one_memory(fleet: Fleet) -> None:
    host = fleet.host("h1")
    host.start()
    host.ready()
    first = host.agent
    host.start_agent()
    assert host.agent is not None
    assert host.agent.wait(60) == 1
    assert "another agent runs with" in host.text()
    host.agent = first


def test_a_controllers_call_that_fails_is_made_again(fleet: Fleet) -> None:
    host = one_host(fleet)
    fleet.faults(
        Fault(call="ControllerPublishVolume", kind="fails", times=2),
        Fault(call="ControllerUnpublishVolume", kind="fails"),
    )
    mounting = host.popen("mount", "db1", str(host.user / "db1"))
    out, err = mounting.communicate(timeout=100)
    assert (mounting.returncode, out.strip()) == (0, str(host.user / "db1")), err
    assert "can't be attached to node" in err
    assert len(fleet.calls("ControllerPublishVolume")) == 3
    host.unmount()
    # Failed calls may still be carried out: the detach that succeeded is confirmed by another one.
    until(lambda: not fleet.ask("GET", f"/v1/node/{host.id}/volumes")["Attachments"], "it is detached")
    assert len(fleet.calls("ControllerUnpublishVolume")) == 3
