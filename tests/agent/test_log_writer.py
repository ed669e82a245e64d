"""Log lines reach their stream whole and in order, or are counted: whoever logs never waits and never fails."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from volstore.agent.log_writer import LARGEST_LINE, LogWriter, QueuedStream


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.set_blocking(reader, False)
    for _ in range(200):  # The writer's thread may be held up in it.
        try:
            if not os.read(reader, 1 << 20):
                break
        except BlockingIOError:
            time.sleep(0.001)
    os.close(reader)


def read(reader: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(reader, size - len(found))
    return found


@pytest.mark.parametrize("blocking", [True, False])
def test_what_a_slow_reader_leaves_waiting_comes_whole_and_in_order(pipe: tuple[int, int], blocking: bool) -> None:
    reader, writer = pipe
    os.set_blocking(writer, blocking)
    log = LogWriter(writer)
    lines = [f"line {n} " + "x" * (n % 700) + "\n" for n in range(300)]
    for line in lines:
        log.write(line)
    assert not log.flush(0.05)
    assert read(reader, len("".join(lines))) == "".join(lines).encode()
    assert log.flush(5)
    assert (log.dropped, log.fault) == (0, "")


def test_what_finds_the_queue_full_is_counted_and_told_of_later(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log, told = LogWriter(writer, most_bytes=10_000), list[tuple[int, str]]()
    log.written_again = lambda count, reason: told.append((count, reason))
    for _ in range(300):
        log.write("x" * 99 + "\n")
    assert 180 <= log.dropped <= 250
    assert "lines were dropped" in log.fault
    read(reader, 100 * (300 - log.dropped))
    until(lambda: sum(count for count, _reason in told) == log.dropped)
    assert told[-1][1] == "its reader was too slow"
    assert "the last one 0 s ago" in log.fault


def test_a_write_that_does_not_end_is_a_fault(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volstore.agent.log_writer.STALLED_AFTER", 0.05)
    log = LogWriter(pipe[1])
    log.write("x" * 8000 + "\n")
    until(lambda: log.fault.startswith("nobody reads it for"))
    began = time.monotonic()
    assert not log.flush(0.1)
    assert time.monotonic() - began < 2


def test_an_error_is_a_fault_until_the_line_could_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr("volstore.agent.log_writer._RETRY_AFTER", 0.01)
    log, told = LogWriter(99_999), list[tuple[int, str]]()
    log.written_again = lambda count, reason: told.append((count, reason))
    log.write("kept\n")
    until(lambda: log.fault == "Bad file descriptor")
    assert not log.flush(5)  # at once
    log.descriptor = writer
    assert read(reader, 5) == b"kept\n"
    until(lambda: told == [(0, "Bad file descriptor")])
    assert log.fault == ""
    os.close(reader)
    os.close(writer)


def test_no_text_and_no_want_of_threads_makes_it_raise(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter(os.open(os.devnull, os.O_WRONLY))

    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        log.write("lost\n")
    assert log.dropped == 1
    log.write("\ud800 surrogate\n")
    log.write("x" * (LARGEST_LINE + 1) + "\n")
    assert log.flush(5)
    assert log.dropped == 1


def test_a_stream_hands_over_whole_lines(pipe: tuple[int, int]) -> None:
    log = LogWriter(pipe[1])
    stream = QueuedStream(log)
    for text in ("one ", "line\nan", "other\nand\n"):
        print(text, end="", file=stream)
    assert read(pipe[0], 21) == b"one line\nanother\nand\n"
    assert (stream.isatty(), stream.fileno()) == (False, pipe[1])


_LOGS = """
import structlog, sys
from volstore.agent import logs
logs.configure("info", sys.argv[1])
class Secret:
    def __repr__(self):
        raise ValueError("no text of it")
structlog.get_logger("test").info("before", fine=1)
structlog.get_logger("test").info("breaks", what=Secret())
structlog.get_logger("test").error("after")
assert logs.dropped() == 1, logs.dropped()
raise RuntimeError("uncaught")
"""


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_line_that_can_not_be_made_is_counted_and_an_uncaught_error_still_shows(format_: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _LOGS, format_], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "before" in ended.stderr
    assert "after" in ended.stderr
    assert "breaks" not in ended.stderr
    assert "RuntimeError: uncaught\n" in ended.stderr
    assert "log_written_again" in ended.stderr
    assert "a line could not be formatted" in ended.stderr


def test_a_stderr_that_is_closed_takes_no_file_of_the_registry_for_it(tmp_path: Path) -> None:
    script = """
import os, sys
from volstore.agent import logs
kept = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
assert kept == 2, kept
logs.configure("info", "json")
import structlog
structlog.get_logger("test").info("line")
assert logs.flush(5)
sys.exit(os.fstat(kept).st_size)
"""
    with_closed = 'exec "$0" -c "$1" "$2" 2>&-'
    file = str(tmp_path / "journal")
    ended = subprocess.run(["sh", "-c", with_closed, sys.executable, script, file], check=False)
    assert ended.returncode == 0
