"""Real mounts by a real agent and a real driver: what is wanted comes about, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.csi.world import World, attachment, claim, needs_root, until
from volstore.node import mountinfo, syscalls
from volstore.node.work import Revoked

pytestmark = needs_root


def node_calls(world: World) -> list[str]:
    return [name for call in world.calls() if (name := call["call"]).startswith("Node") and name.endswith("Volume")]


def test_a_claimed_volume_is_mounted_and_a_released_one_leaves_nothing(world: World) -> None:
    source = world.volume()
    world.start_driver()
    world.start_agent()
    path = world.user / "db"
    world.want(attachment(claim(path=str(path))))
    world.published()
    assert (path / "data").read_text() == "precious"
    (path / "more").write_text("kept")
    world.want(attachment(claim(path=str(path), released=True), state="leaving"))
    world.gone()
    assert not path.exists()
    assert (source / "more").read_text() == "kept"
    assert node_calls(world) == ["NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"]


def test_a_driver_that_does_not_stage_is_not_asked_to(world: World) -> None:
    world.volume()
    world.driver_settings.stages = False
    world.driver_settings.odd_capabilities = True
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim()))
    world.published()
    world.want(attachment(claim(released=True), state="leaving"))
    world.gone()
    assert node_calls(world) == ["NodePublishVolume", "NodeUnpublishVolume"]
    assert "staging_target_path" not in world.calls("NodePublishVolume")[0]["request"]


def test_a_driver_that_mounts_at_the_staging_path_leaves_nothing_there(world: World) -> None:
    world.volume()
    world.driver_settings.stage_mounts = True
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim()))
    world.published()
    assert world.mounts(world.staging()) == 1
    world.want(attachment(claim(released=True), state="leaving"))
    world.gone()


def test_reading_is_read_only_at_the_target_and_at_the_path(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    path = world.user / "db"
    world.want(attachment(claim(mode="read", path=str(path)), access_mode="multi-node-reader-only"))
    world.published()
    for place in (path, world.target()):
        with pytest.raises(OSError, match="Read-only file system"):
            (place / "data").write_text("no")
    assert world.calls("NodePublishVolume")[0]["request"]["readonly"] is True
    world.want(attachment(claim(mode="read", path=str(path), released=True), state="leaving"))
    world.gone()


def test_two_allocations_share_the_staging_and_the_last_one_ends_it(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    one, two = claim("a1"), claim("a2", mode="read")
    world.want(attachment(one, two, access_mode="multi-node-multi-writer"))
    world.published("a1")
    world.published("a2")
    world.want(attachment(claim("a1", released=True), two, access_mode="multi-node-multi-writer"))
    until(lambda: world.state("a1") == "gone", "the first is gone")
    assert world.state("a2") == "published"
    assert world.calls("NodeUnstageVolume") == []
    world.want(attachment(claim("a2", mode="read", released=True), state="leaving"))
    world.gone()
    assert len(world.calls("NodeStageVolume")) == len(world.calls("NodeUnstageVolume")) == 1


def test_the_next_writer_waits_until_the_one_before_is_gone(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim("a1")))
    world.published("a1")
    with (world.target("a1") / "data").open():
        world.want(attachment(claim("a1", released=True), claim("a2")))
        until(lambda: "a1 still writes it here" in world.error(), "the second waits")
        assert world.mounts(world.target("a2")) == 0
    world.published("a2")
    assert world.state("a1") == "gone"


def test_a_claim_that_is_not_listed_any_more_stays_and_is_reported(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim()))
    world.published()
    world.want()
    report = until(lambda: (found := world.report()) and found.unexpected and found, "it is unexpected")
    assert {one.allocation_id for one in report.unexpected} == {"a1", ""}
    assert world.mounts(world.target()) == 1
    assert world.state("a1") == "published"
    assert world.calls("NodeUnpublishVolume") == []


def test_a_mount_of_nobody_below_the_base_is_reported_and_left(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want()
    until(world.report, "a first report")
    stray = Path(world.paths.base) / "p" / "0123456789abcdef" / "m"
    stray.mkdir(parents=True)
    syscalls.bind(str(world.user), str(stray))
    world.want()
    report = until(lambda: (found := world.report()) and found.unexpected and found, "it is unexpected")
    assert [one.path for one in report.unexpected] == [str(stray)]
    assert world.mounts(stray) == 1


def test_a_revoked_volume_is_torn_down_without_claims(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim(path=str(world.user / "db"))))
    world.published()
    world.want(revoked=[Revoked(plugin_id="dirs", external_id="db1")])
    world.gone()


def test_a_mount_that_vanished_is_made_again(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim()))
    world.published()
    syscalls.unmount(str(world.target()))
    until(lambda: len(world.calls("NodePublishVolume")) == 2 and world.mounts(world.target()) == 1, "it is back")


def test_a_busy_volume_stays_and_the_reason_names_the_process(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    path = world.user / "db"
    world.want(attachment(claim(path=str(path))))
    world.published()
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], cwd=path, stdin=subprocess.PIPE)
    try:
        world.want(attachment(claim(path=str(path), released=True), state="leaving"))
        until(lambda: f"[{sleeper.pid}]" in world.error(), "the process is named")
        assert "is busy" in world.error()
        assert world.calls("NodeUnpublishVolume") == []
    finally:
        sleeper.communicate(b"\n")
    world.gone()


def test_force_unmounts_a_busy_volume_without_its_plugin(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    path = world.user / "db"
    world.want(attachment(claim(path=str(path))))
    world.published()
    world.kill_driver()
    with (path / "data").open() as file:
        world.want(attachment(claim(path=str(path), released=True, force=True), state="leaving"))
        until(lambda: world.state("a1") == "gone", "it is gone")
        assert file.read() == "precious"
    assert world.mounts(path) == world.mounts(world.target()) == 0
    world.start_driver()
    world.gone()


def test_what_a_user_mounted_inside_is_not_unmounted(world: World) -> None:
    (world.volume() / "inside").mkdir()
    world.start_driver()
    world.start_agent()
    path = world.user / "db"
    world.want(attachment(claim(path=str(path))))
    world.published()
    syscalls.bind("/usr", str(path / "inside"))
    assert mountinfo.read().below(str(world.target())) == ()
    world.want(attachment(claim(path=str(path), released=True), state="leaving"))
    until(lambda: f"{path}/inside is mounted inside" in world.error(), "the reason is told")
    syscalls.unmount(str(path / "inside"))
    world.gone()


def _full(path: Path) -> None:
    path.mkdir()
    (path / "x").touch()


def _link(path: Path) -> None:
    path.symlink_to("/usr")


def _file(path: Path) -> None:
    path.touch()


def _mounted(path: Path) -> None:
    path.mkdir()
    syscalls.bind("/usr", str(path))


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_full, "is not empty"),
        (_link, "symbolic link"),
        (_file, "is no directory"),
        (_mounted, "something else is mounted at"),
    ],
)
def test_a_path_that_is_in_use_is_refused_and_left_alone(
    world: World, prepare: Callable[[Path], None], reason: str
) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    path = world.user / "db"
    prepare(path)
    before = sorted(world.user.iterdir())
    world.want(attachment(claim(path=str(path))))
    until(lambda: reason in world.error(), reason)
    world.want(attachment(claim(path=str(path), released=True), state="leaving"))
    until(lambda: (found := world.report()) is not None and not found.attachments, "all is gone")
    assert sorted(world.user.iterdir()) == before


@pytest.mark.parametrize("path", ["relative", "/", "/etc", "/srv/../etc", "/srv/db/"])
def test_a_path_that_is_no_place_for_a_volume_is_refused(world: World, path: str) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim(path=path)))
    reasons = ("plain absolute path", "hide the system's own files")
    until(lambda: any(reason in world.error() for reason in reasons), "the reason is told")


def test_a_path_with_odd_characters_never_reaches_the_driver(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    path = world.user / "my data\n\\040 é"
    world.want(attachment(claim("an allocation/with ../odd", path=str(path))))
    world.published("an allocation/with ../odd")
    assert (path / "data").read_text() == "precious"
    target = world.calls("NodePublishVolume")[0]["request"]["target_path"]
    assert target.isascii()
    assert set(target) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-")
    world.want(attachment(claim("an allocation/with ../odd", path=str(path), released=True), state="leaving"))
    world.gone()


def test_a_block_device_is_shown_as_a_device_and_given_back(world: World) -> None:
    image = world.block()
    world.start_driver()
    world.start_agent()
    path = world.user / "disk"
    disk = {"external_id": image.name, "attachment_mode": "block-device"}
    world.want(attachment(claim(path=str(path)), **disk))
    world.published()
    assert path.is_block_device()
    with path.open("r+b", buffering=0) as device:
        device.write(b"on the disk".ljust(512))
        os.fsync(device.fileno())
    world.want(attachment(claim(path=str(path), released=True), state="leaving", **disk))
    world.gone()
    assert image.read_bytes().startswith(b"on the disk")


def test_a_read_only_block_device_is_refused_unless_the_plugin_is_trusted(world: World) -> None:
    image = world.block()
    world.start_driver()
    world.start_agent()
    disk = {"external_id": image.name, "attachment_mode": "block-device", "access_mode": "multi-node-reader-only"}
    world.want(attachment(claim(mode="read"), **disk))
    until(lambda: "let read-only block devices be written" in world.error(), "it is refused")
    assert world.calls("NodePublishVolume") == []
    world.kill_agent()
    world.start_agent(trust_read_only=True)
    world.published()


@pytest.mark.parametrize(("propagation", "works"), [("unchanged", True), ("private", False), ("slave", False)])
def test_a_driver_in_a_mount_namespace_of_its_own_must_share_the_base(
    world: World, propagation: str, works: bool
) -> None:
    world.volume()
    world.start_agent()
    until(lambda: any(mount.shared for mount in mountinfo.read().at(world.paths.base)), "the base is shared")
    world.start_driver(wrapper=["unshare", "--mount", "--propagation", propagation])
    world.want(attachment(claim()))
    if works:
        world.published()
        world.want(attachment(claim(released=True), state="leaving"))
        world.gone()
    else:
        until(lambda: "does it share" in world.error(), "the reason is told")
        assert "(rshared)?" in world.error()
        assert world.state("a1") != "published"


def test_mounts_are_not_seen_twice_below_a_shared_root(world: World) -> None:
    world.volume()
    world.start_driver()
    world.start_agent()
    world.want(attachment(claim()))
    world.published()
    found = mountinfo.read().at(world.paths.base)
    assert len(found) == 1
    assert found[0].shared
    assert world.mounts(world.target()) == 1
