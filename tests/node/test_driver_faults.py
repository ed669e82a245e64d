"""Each test is one thing that a real driver was seen to do (design/csi.md, section 0)."""

from __future__ import annotations

import os
import signal

import pytest

from tests.csi.driver import SECRET, Fault
from tests.csi.world import World, attachment, claim, needs_root, until

pytestmark = needs_root

CALLS = ["NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"]


def release(world: World) -> None:
    world.want(attachment(claim(path=str(world.user / "db"), released=True), state="leaving"))


def mount(world: World) -> None:
    world.want(attachment(claim(path=str(world.user / "db"))))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["dies", "dies_after"])
def test_a_driver_that_dies_in_a_call_is_asked_again_when_it_is_back(world: World, call: str, kind: str) -> None:
    source = world.volume()
    world.start_driver(Fault(call=call, kind=kind))
    world.start_agent()
    mount(world)
    if call in CALLS[2:]:
        world.published()
        release(world)
    world.driver_ends()
    until(lambda: "plugin dirs" in world.error(), "the report names the plugin")
    world.start_driver()
    if call in CALLS[:2]:
        world.published()
        release(world)
    world.gone()
    assert (source / "data").read_text() == "precious"


@pytest.mark.parametrize("code", ["INTERNAL", "ABORTED", "UNKNOWN", "UNAVAILABLE"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_once_is_made_again(world: World, call: str, code: str) -> None:
    world.volume()
    world.start_driver(Fault(call=call, kind="fails", code=code))
    world.start_agent()
    mount(world)
    world.published()
    release(world)
    world.gone()


def test_a_refused_unstage_makes_it_unpublish_every_target_once_more(world: World) -> None:
    world.volume()
    world.start_driver(Fault(call="NodeUnstageVolume", kind="fails", text='still published at ["/x"]'))
    world.start_agent()
    mount(world)
    world.published()
    release(world)
    world.gone()
    names = [call["call"] for call in world.calls() if call["call"] in CALLS[2:]]
    assert names == ["NodeUnpublishVolume", "NodeUnstageVolume", "NodeUnpublishVolume", "NodeUnstageVolume"]


def test_ok_without_a_mount_is_not_believed(world: World) -> None:
    world.volume()
    world.start_driver(Fault(call="NodePublishVolume", kind="does_nothing"))
    world.start_agent()
    mount(world)
    until(lambda: "answered OK but nothing is mounted" in world.error(), "the reason is told")
    assert not (world.user / "db").exists()
    until(lambda: world.calls("NodeUnpublishVolume"), "it is undone")
    world.kill_agent()
    world.start_agent()
    world.published()
    release(world)
    world.gone()


def test_ok_without_an_unmount_is_not_believed(world: World) -> None:
    world.volume()
    world.start_driver(Fault(call="NodeUnpublishVolume", kind="does_nothing"))
    world.start_agent()
    mount(world)
    world.published()
    release(world)
    world.gone()


def test_not_found_at_unpublish_is_as_good_as_ok_and_the_mount_is_ended_here(world: World) -> None:
    world.volume()
    world.start_driver(
        Fault(call="NodeUnpublishVolume", kind="fails", code="NOT_FOUND"),
        Fault(call="NodeUnstageVolume", kind="fails", code="NOT_FOUND"),
    )
    world.start_agent()
    mount(world)
    world.published()
    release(world)
    world.gone()


def test_a_writable_mount_where_read_only_was_asked_for_is_made_read_only(world: World) -> None:
    world.volume()
    world.start_driver(Fault(call="NodePublishVolume", kind="ignores_readonly"))
    world.start_agent()
    path = world.user / "db"
    world.want(attachment(claim(mode="read", path=str(path)), access_mode="multi-node-reader-only"))
    world.published()
    for place in (path, world.target()):
        with pytest.raises(OSError, match="Read-only"):
            (place / "data").write_text("no")


def test_a_second_mount_at_the_target_never_costs_the_data(world: World) -> None:
    """This driver unmounts once and removes the tree, through the second mount if there is one."""
    source = world.volume()
    world.driver_settings.removes_trees = True
    world.start_driver(Fault(call="NodePublishVolume", kind="mounts_twice"))
    world.start_agent()
    mount(world)
    world.published()
    assert world.mounts(world.target()) == 1
    release(world)
    world.gone()
    assert (source / "data").read_text() == "precious"


def test_a_mount_stacked_while_it_is_published_never_costs_the_data(world: World) -> None:
    source = world.volume()
    world.driver_settings.removes_trees = True
    world.start_driver()
    world.start_agent()
    mount(world)
    world.published()
    world.kill_agent()
    from volstore.node import syscalls

    syscalls.bind(str(source), str(world.target()))
    release(world)
    world.start_agent()
    world.gone()
    assert (source / "data").read_text() == "precious"


def test_a_publish_that_timed_out_and_is_carried_out_late_is_undone(world: World) -> None:
    world.volume()
    world.driver_settings.makes_parents = True
    world.start_driver(Fault(call="NodePublishVolume", kind="late", seconds=4))
    world.start_agent(call_seconds=0.5, clean_apart_seconds=0.2, late_seconds=30)
    mount(world)
    until(lambda: "DEADLINE_EXCEEDED" in world.error(), "the time-out is told")
    release(world)
    until(lambda: world.state("a1") == "gone", "it is reported as gone")
    negations = len(world.calls("NodeUnpublishVolume"))
    assert negations >= 2
    until(lambda: len(world.calls("NodeUnpublishVolume")) > negations, "the late mount is undone")
    until(lambda: world.mounts(world.target()) == 0, "it is gone")
    until(lambda: not world.target().exists(), "nothing is left at the target")


def test_a_stopped_driver_is_waited_for_and_nothing_is_left_in_the_end(world: World) -> None:
    source = world.volume()
    world.start_driver()
    world.start_agent(call_seconds=0.5)
    mount(world)
    world.published()
    os.kill(world.driver_pid, signal.SIGSTOP)
    release(world)
    until(lambda: "no answer within 0.5 s" in world.error(), "the time-out is told")
    os.kill(world.driver_pid, signal.SIGCONT)
    world.gone()
    assert (source / "data").read_text() == "precious"


def test_a_driver_that_hangs_in_publish_holds_up_no_other_volume(world: World) -> None:
    world.volume("db1")
    world.volume("db2")
    world.start_driver(Fault(call="NodePublishVolume", kind="hang"))
    world.start_agent(call_seconds=60)
    world.want(attachment(claim("a1")))
    until(lambda: world.faults_left() == 0, "the first hangs")
    world.want(attachment(claim("a1")), attachment(claim("a2"), external_id="db2"))
    world.published("a2")
    assert world.state("a1") == "publishing"


def test_a_final_refusal_is_told_in_the_drivers_words_and_undone(world: World) -> None:
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim(), external_id="nosuch"))
    until(lambda: "there is no volume 'nosuch'" in world.error(), "the reason is told")
    world.want(attachment(claim(released=True), external_id="nosuch", state="leaving"))
    world.gone()


def test_secrets_reach_the_driver_and_no_file_report_or_log(world: World) -> None:
    world.volume()
    world.driver_settings.needs_secret = True
    world.start_driver(Fault(call="NodePublishVolume", kind="echoes_secrets"))
    world.start_agent()
    world.want(attachment(claim(), secrets={"password": SECRET}, publish_context={"chap": "publish-password"}))
    world.published()
    world.want(attachment(claim(released=True), state="leaving", secrets={"password": SECRET}))
    world.gone()
    assert "[secret]" in world.log.read_text()
    told_by_test = {world.agent_settings.work, world.driver_settings.calls}
    for file in world.root.rglob("*"):
        if file.is_file() and file not in told_by_test:
            assert SECRET.encode() not in file.read_bytes()
            assert b"publish-password" not in file.read_bytes()


def test_a_wrong_secret_is_tried_again_as_soon_as_it_is_mended(world: World) -> None:
    world.volume()
    world.driver_settings.needs_secret = True
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim(), secrets={"password": "wrong one"}))
    until(lambda: "UNAUTHENTICATED" in world.error(), "the reason is told")
    assert "wrong one" not in world.error()
    world.want(attachment(claim(), secrets={"password": SECRET}))
    world.published()


def test_a_driver_that_starts_late_over_a_stale_socket_is_found(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    until(lambda: world.calls("Probe"), "the driver is known")
    world.kill_driver()
    mount(world)
    until(lambda: "plugin dirs" in world.error(), "the plugin is missed")
    world.start_driver()
    world.published()
