"""The real disk does what the port says, and the disk of the tests agrees with it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.ports import Disk
from cluster.storage.disk import RealDisk
from tests.cluster.storage.memory_disk import MemoryDisk


@pytest.fixture(params=["real", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "memory":
        yield MemoryDisk()
        return
    real = RealDisk(tmp_path / "data")
    yield real
    real.close()


def test_what_is_appended_is_read_back_from_any_place(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.append(b"hello ")
    file.append(b"world")
    file.sync()
    assert file.size() == 11
    assert file.read(6, 100) == b"world"
    assert file.read(0, 5) == b"hello"
    assert file.read(11, 5) == b""
    file.truncate(5)
    file.append(b"!")
    file.close()
    again = disk.open("a")
    assert again.read(0, 100) == b"hello!"
    again.append(b"?")
    assert again.size() == 7
    again.close()


def test_a_file_that_is_not_there_is_not_made_by_chance(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open("a")
    with pytest.raises(FileNotFoundError):
        disk.remove("a")
    with pytest.raises(FileNotFoundError):
        disk.list("folder")
    assert disk.list() == []


def test_files_are_listed_renamed_and_removed_by_folder(disk: Disk) -> None:
    disk.make_folder("folder")
    disk.make_folder("folder")
    for name in ("b", "folder/c", "folder/a"):
        disk.open(name, create=True).close()
    assert disk.list() == ["b", "folder"]
    assert disk.list("folder") == ["a", "c"]
    disk.rename("folder/c", "folder/a")
    disk.sync_folder("folder")
    disk.remove("b")
    disk.sync_folder()
    assert disk.list() == ["folder"]
    assert disk.list("folder") == ["a"]


def test_a_locked_directory_is_refused(disk: Disk) -> None:
    disk.lock()
    with pytest.raises(BlockingIOError):
        disk.lock()
    disk.unlock()
    disk.lock()
    disk.unlock()


async def test_work_is_done_in_the_order_of_the_calls(disk: Disk) -> None:
    done: list[int] = []
    # Bound by a default, which mypy gives no type.
    await asyncio.gather(*[disk.run(lambda number=number: done.append(number)) for number in range(50)])  # type: ignore[misc]
    assert done == list(range(50))
    assert await disk.run(lambda: "result") == "result"
    with pytest.raises(FileNotFoundError):
        await disk.run(lambda: disk.open("a"))


async def test_work_that_is_begun_tells_what_it_raised_in_a_later_turn_of_the_loop(disk: Disk) -> None:
    told: asyncio.Queue[tuple[str, BaseException | None]] = asyncio.Queue()
    disk.begin(lambda: disk.open("a", create=True).close(), lambda error: told.put_nowait(("a", error)))
    disk.begin(lambda: disk.open("b"), lambda error: told.put_nowait(("b", error)))
    assert told.empty()
    assert await told.get() == ("a", None)
    name, error = await told.get()
    assert name == "b"
    assert isinstance(error, FileNotFoundError)


def test_there_is_room(disk: Disk) -> None:
    assert disk.free_bytes() > 0


def test_the_data_directory_is_its_owners_alone(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "new" / "data")
    disk.make_folder("folder")
    disk.open("folder/file", create=True).close()
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "data" / "folder").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "data" / "folder" / "file").stat().st_mode & 0o777 == 0o600
    disk.close()


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "folder/../../other"])
def test_no_name_leads_out_of_the_data_directory(tmp_path: Path, name: str) -> None:
    disk = RealDisk(tmp_path)
    with pytest.raises(ValueError, match="not a name inside"):
        disk.open(name)
    disk.close()


def test_the_lock_holds_against_another_process_and_names_its_holder(tmp_path: Path) -> None:
    program = (
        "import sys; from cluster.storage.disk import RealDisk; disk = RealDisk(sys.argv[1]); disk.lock();"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        disk = RealDisk(tmp_path)
        looking = RealDisk(tmp_path, create=False)
        for one in (disk, looking):
            with pytest.raises(BlockingIOError, match=f"in use by process {other.pid}"):
                one.lock()
        other.kill()
        other.wait()
        disk.lock()
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        disk.close()
        looking.lock()
        looking.close()


def test_a_look_at_a_directory_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RealDisk(tmp_path / "absent", create=False)
    disk = RealDisk(tmp_path, create=False)
    disk.lock()
    disk.unlock()
    with pytest.raises(FileNotFoundError):
        disk.open("a", create=True)
    assert list(tmp_path.iterdir()) == []
    disk.close()


def test_a_write_that_the_disk_takes_in_part_is_an_error(tmp_path: Path) -> None:
    """A limit on the file's size stands for the full disk: the kernel first takes what fits."""
    program = (
        "import resource, signal, sys; from cluster.storage.disk import RealDisk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "disk = RealDisk(sys.argv[1])\n"
        "file = disk.open('a', create=True)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "file.append(b'x' * 900)\n"
        "try: file.append(b'y' * 900)\n"
        "except OSError as error: print(error.errno, file.size(), (disk.path / 'a').stat().st_size)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == f"{errno.EFBIG} 900 1000\n"


def test_a_log_is_longer_than_its_content_while_it_is_open(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.make_folder("journal")
    path = tmp_path / "journal" / "log"
    file = disk.open("journal/log", create=True)
    for _ in range(3):
        file.append(b"x" * 1000)
        file.sync()
    allocated = path.stat().st_size
    assert allocated > 100_000
    assert (file.size(), file.read(2990, 100)) == (3000, b"x" * 10)
    file.append(bytes(allocated))
    assert path.stat().st_size > allocated + 3000
    file.truncate(2000)
    file.append(b"y")
    file.close()
    assert path.read_bytes() == b"x" * 2000 + b"y"
    disk.close()


def test_a_log_takes_what_room_there_is_when_none_is_left_ahead(tmp_path: Path) -> None:
    program = (
        "import errno, os, sys; from cluster.storage.disk import RealDisk\n"
        "disk = RealDisk(sys.argv[1]); disk.make_folder('journal')\n"
        "file = disk.open('journal/log', create=True)\n"
        "real = os.pwrite\n"
        "def full(descriptor, data, offset):\n"
        "    if offset + len(data) > 3000: raise OSError(errno.ENOSPC, 'full')\n"
        "    return real(descriptor, data, offset)\n"
        "os.pwrite = full\n"
        "for _ in range(3): file.append(b'x' * 1000)\n"
        "try: file.append(b'x')\n"
        "except OSError as error: print(error.errno, file.size(), (disk.path / 'journal/log').stat().st_size)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == f"{errno.ENOSPC} 3000 3000\n"


async def test_closing_finishes_the_work_that_was_given(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    gate = threading.Event()
    waiting = asyncio.ensure_future(disk.run(gate.wait))
    last = asyncio.ensure_future(disk.run(lambda: disk.open("last", create=True).close()))
    await asyncio.sleep(0)
    gate.set()
    disk.close()
    assert (tmp_path / "last").exists()
    assert await waiting
    await last
    with pytest.raises(RuntimeError):
        await disk.run(lambda: None)
