"""Writes log lines to stderr in its own thread: a logging call never waits for stderr, and never fails with it.

The standard library's QueueHandler and QueueListener also use a queue, but at the end they wait for the stream without
bound, and they don't count dropped lines. Here both are bounded: a stalled reader neither holds up the node nor the end
of its process.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MOST_BYTES = 4 << 20
"""The most bytes of waiting lines; beyond it lines are dropped."""
LARGEST_LINE = 256 << 10
"""The most bytes of one line; longer lines are truncated."""
STALLED_AFTER = 2.0
"""Seconds after which an unfinished write counts as a fault."""
REMEMBERED = 3600.0
"""Seconds after the last dropped line during which `fault` still mentions it."""
_RETRY_AFTER = 0.5


class LogWriter:
    """Writes to the file `descriptor`. All methods may be called from any thread."""

    def __init__(self, descriptor: int, *, most_bytes: int = MOST_BYTES) -> None:
        self.dropped = 0
        """The number of dropped lines since the start."""
        self.written_again: Callable[[int, str], None] = lambda dropped, reason: None
        """Callback in the writer's thread when writing works again, with the number of dropped lines and the reason."""
        self.descriptor = descriptor
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing_since: float | None = None
        self._error = ""
        self._dropped_at = 0.0
        self._unreported, self._unreported_error = 0, ""

    def write(self, text: str) -> None:
        """Queue `text`, which ends with a newline. Never waits for the stream, and raises nothing."""
        data = text.encode("utf-8", "backslashreplace")
        if len(data) > LARGEST_LINE:
            data = data[:LARGEST_LINE] + b"... (cut)\n"
        with self._changed:
            if self._bytes + len(data) > self._most_bytes or not self._started():
                self._drop()
                return
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify_all()

    def lost(self) -> None:
        """Count a line that could not be formatted."""
        with self._changed:
            self._drop()
            self._unreported_error = self._unreported_error or "a line could not be formatted"

    @property
    def fault(self) -> str:
        """Why lines can't be written, or that some were dropped recently; "" otherwise."""
        with self._changed:
            now, since = time.monotonic(), self._writing_since
            dropped = f", {self.dropped} lines were dropped" if self.dropped else ""
            if self._error:
                return f"{self._error}{dropped}"
            if since is not None and now - since > STALLED_AFTER:
                return f"nobody reads it for {now - since:.0f} s{dropped}"
            if self.dropped and now - self._dropped_at < REMEMBERED:
                return f"{self.dropped} lines were dropped, the last one {now - self._dropped_at:.0f} s ago"
            return ""

    def flush(self, seconds: float) -> bool:
        """Wait at most `seconds` until everything is written, but not for a failing stream. Returns whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes or bool(self._error), seconds)
            return not self._bytes

    def _drop(self) -> None:
        self.dropped += 1
        self._unreported += 1
        self._dropped_at = time.monotonic()

    def _started(self) -> bool:
        if self._thread is None:
            # A daemon: a write that never returns must not prevent the end of the process.
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # The system has no thread left.
                return False
            self._thread = thread
        return True

    # The writer's thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines))
                line = self._lines[0]
                self._writing_since = time.monotonic()
            error = self._write_all(line)
            with self._changed:
                self._lines.popleft()
                self._bytes -= len(line)
                self._writing_since = None
                self._unreported_error = error or self._unreported_error
                unreported, reason = self._unreported, self._unreported_error
                report = self._bytes < self._most_bytes // 2
                if report:
                    self._unreported, self._unreported_error = 0, ""
                self._changed.notify_all()
            if report and (unreported or reason):
                self.written_again(unreported, reason or "its reader was too slow")

    def _write_all(self, line: bytes) -> str:
        """Write the line, however long it takes. Returns the last error on the way, "" if there was none."""
        left, problem = memoryview(line), ""
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                # Another process that shares the stream made it non-blocking.
                select.select([], [self.descriptor], [], _RETRY_AFTER)
            except OSError as error:
                problem = error.strerror or str(error)
                with self._changed:
                    self._error = problem
                    self._changed.notify_all()
                time.sleep(_RETRY_AFTER)
        with self._changed:
            self._error = ""
        return problem


class QueuedStream(io.TextIOBase):
    """Replaces sys.stderr, so that tracebacks and warnings go through the writer too, line by line."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._begun = threading.local()

    def write(self, text: str) -> int:
        whole, end, rest = (getattr(self._begun, "line", "") + text).rpartition("\n")
        self._begun.line = rest
        if end:
            self._writer.write(whole + end)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._writer.descriptor

    def isatty(self) -> bool:
        return os.isatty(self._writer.descriptor)
