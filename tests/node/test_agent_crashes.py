"""The agent is killed at every moment that matters, loses its memory, and wakes up after a reboot."""

from __future__ import annotations

import shutil

import pytest

from tests.csi.driver import Fault
from tests.csi.world import World, attachment, claim, needs_root, until
from volstore.node import mountinfo, syscalls

pytestmark = needs_root

UP = 5
"""Records that are written while a volume is staged, published and bound: before and after each call, and the bind."""
DOWN = 6
"""... and while it is unbound, unpublished, unstaged and forgotten."""


def mount(world: World) -> None:
    world.want(attachment(claim(path=str(world.user / "db"))))


def release(world: World) -> None:
    world.want(attachment(claim(path=str(world.user / "db"), released=True), state="leaving"))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(1, UP + 1))
def test_killed_at_any_record_on_the_way_up_it_goes_on(world: World, write: int, after: bool) -> None:
    source = world.volume()
    world.start_driver()
    mount(world)
    world.start_agent(die_at_write=write, die_after_write=after)
    assert world.agent_ends() == -9
    world.start_agent(die_at_write=0)
    world.published()
    assert world.mounts(world.target()) == world.mounts(world.user / "db") == 1
    release(world)
    world.gone()
    assert (source / "data").read_text() == "precious"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(1, DOWN + 1))
def test_killed_at_any_record_on_the_way_down_it_goes_on(world: World, write: int, after: bool) -> None:
    source = world.volume()
    world.start_driver()
    mount(world)
    world.start_agent()
    world.published()
    world.kill_agent()
    release(world)
    world.start_agent(die_at_write=write, die_after_write=after)
    assert world.agent_ends() == -9
    world.start_agent(die_at_write=0)
    world.gone()
    assert (source / "data").read_text() == "precious"


@pytest.mark.parametrize("call", ["NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"])
def test_killed_while_the_driver_works_it_makes_the_same_call_again(world: World, call: str) -> None:
    source = world.volume()
    world.start_driver(Fault(call=call, kind="late", seconds=1))
    world.start_agent()
    mount(world)
    if call.startswith("NodeUn"):
        world.published()
        release(world)
    until(lambda: world.faults_left() == 0, "the call is going on")
    world.kill_agent()
    world.start_agent()
    if not call.startswith("NodeUn"):
        world.published()
        assert world.mounts(world.target()) == 1
        release(world)
    world.gone()
    assert len(world.calls(call)) >= 2
    assert (source / "data").read_text() == "precious"


def test_a_restart_looks_and_redoes_nothing(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    mount(world)
    world.published()
    world.kill_agent()
    before = len([call for call in world.calls() if call["call"].endswith("Volume")])
    world.agent_settings.report.unlink()
    world.start_agent()
    world.published()
    assert len([call for call in world.calls() if call["call"].endswith("Volume")]) == before


def _unmount_everything(world: World) -> None:
    for point in reversed(mountinfo.read().below(str(world.root))):
        while mountinfo.read().at(point):
            syscalls.unmount(point, detach=True)


def test_after_a_reboot_what_is_claimed_is_mounted_again(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent(boot_id="first")
    mount(world)
    world.published()
    world.kill_agent()
    _unmount_everything(world)
    world.start_agent(boot_id="second")
    until(lambda: (found := world.report()) is not None and found.boot_id == "second", "a report of the new boot")
    world.published()
    assert (world.user / "db" / "data").read_text() == "precious"
    assert [len(world.calls(name)) for name in ("NodeStageVolume", "NodePublishVolume")] == [2, 2]
    release(world)
    world.gone()


def test_after_a_reboot_the_driver_is_told_to_end_what_was_released_meanwhile(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent(boot_id="first")
    mount(world)
    world.published()
    world.kill_agent()
    _unmount_everything(world)
    release(world)
    world.start_agent(boot_id="second")
    world.gone()
    assert [len(world.calls(name)) for name in ("NodeUnpublishVolume", "NodeUnstageVolume")] == [1, 1]


@pytest.mark.parametrize("damage", ["lost", "torn", "garbage"])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_lost_memory_is_rebuilt_from_the_host_and_the_registry(world: World, damage: str, wanted: bool) -> None:
    source = world.volume()
    world.start_driver()
    world.start_agent()
    mount(world)
    world.published()
    world.kill_agent()
    (record,) = world.agent_settings.state.iterdir()
    if damage == "lost":
        shutil.rmtree(world.agent_settings.state)
    else:
        record.write_bytes(record.read_bytes()[:40] if damage == "torn" else b"\0\xff")
    state = "attached" if wanted else "leaving"
    world.want(
        attachment(claim(path=str(world.user / "db"), reported=True, released=not wanted), state=state, staged=True)
    )
    world.start_agent()
    if wanted:
        world.published()
        assert world.mounts(world.target()) == world.mounts(world.user / "db") == 1
        release(world)
    until(lambda: (found := world.report()) is not None and not found.attachments, "all is gone")
    assert mountinfo.read().below(world.paths.base) == ()
    assert world.mounts(world.user / "db") == 0
    damaged = [] if damage == "lost" else [record.with_suffix(".damaged")]
    until(lambda: list(world.agent_settings.state.iterdir()) == damaged, "no record but the damaged one")
    assert (source / "data").read_text() == "precious"


def test_a_hundred_rounds_leave_nothing(world: World) -> None:
    source = world.volume()
    world.start_driver()
    world.start_agent()
    for _ in range(100):
        mount(world)
        world.published()
        release(world)
        world.gone()
    assert (source / "data").read_text() == "precious"
