"""What a drill makes on a machine goes away with it, and what a killed drill left goes away with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from volstore.drill.cleanup import PREFIX, Place, in_memory, remove_leftovers, remove_namespace

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and namespaces need root")


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_what_was_noted_is_ended_and_the_folder_removed() -> None:
    place = Place()
    process = sleeper()
    place.note(process.pid)
    (place.folder / "data").mkdir()
    place.remove()
    assert process.wait() == -signal.SIGKILL
    assert not place.folder.exists()
    place.remove()


def test_a_process_that_got_the_same_id_later_is_left_alone() -> None:
    place = Place()
    process = sleeper()
    (place.folder / "processes").write_text(f"{process.pid} 1\n")
    place.remove()
    assert process.poll() is None
    process.kill()
    process.wait()


def test_only_what_belongs_to_drills_that_are_gone_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process = sleeper()
    gone = tmp_path / f"{PREFIX}1-abc"
    gone.mkdir()
    (gone / "owner").write_text("999999999 1\n")
    running = Place()
    running.note(process.pid)
    assert gone.name in remove_leftovers()
    assert not gone.exists()
    assert running.folder.exists()
    assert process.poll() is None
    running.remove()
    process.wait()


@ROOT
def test_what_is_mounted_in_the_folder_is_unmounted() -> None:
    place = Place()
    mounted = place.folder / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(mounted)], check=True)
    place.remove()
    assert not place.folder.exists()
    assert str(mounted) not in Path("/proc/self/mountinfo").read_text()


@ROOT
def test_a_folder_in_memory_is_told_from_one_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = in_memory()
    (tmp_path / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path)], check=True)
    try:
        assert in_memory()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert in_memory() == before


@ROOT
def test_the_namespaces_of_a_drill_that_is_gone_are_removed() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name, own = f"{PREFIX}{dead.pid}-s1", f"{PREFIX}{os.getpid()}-s1"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "netns", "add", own], check=True)
    try:
        assert name in remove_leftovers()
        there = {path.name for path in Path("/run/netns").iterdir()}
        assert name not in there
        assert own in there
    finally:
        remove_namespace(own)
