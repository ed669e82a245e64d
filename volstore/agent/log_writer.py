"""Brings log lines to stderr in a thread of its own: whoever logs never waits for stderr, and never fails with it.

The standard library's QueueHandler and QueueListener do the same with a queue, but end by waiting for the stream for as
long as it takes, and don't count what they drop. Here both are bounded: a reader that stands still keeps neither the
node from its work nor the process from its end.
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
"""Bytes of lines that may wait; those that come when it is full are dropped."""
LARGEST_LINE = 256 << 10
"""Bytes of one line; the rest of a longer one is cut off."""
STALLED_AFTER = 2.0
"""Seconds after which a write that doesn't end is called a fault."""
REMEMBERED = 3600.0
"""Seconds for which dropped lines are still told of after the last one."""
_RETRY_AFTER = 0.5


class LogWriter:
    """Writes to the file `descriptor`. All methods may be called from any thread."""

    def __init__(self, descriptor: int, *, most_bytes: int = MOST_BYTES) -> None:
        self.dropped = 0
        """Lines, since the start."""
        self.written_again: Callable[[int, str], None] = lambda dropped, reason: None
        """Told in the writer's thread, when lines can be written again, how many were dropped and what was wrong."""
        self.descriptor = descriptor
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing_since: float | None = None
        self._error = ""
        self._dropped_at = 0.0
        self._untold, self._untold_error = 0, ""

    def write(self, text: str) -> None:
        """Have `text`, which ends with its line's end, written soon. Never waits for the stream, and raises nothing."""
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
        """A line could not even be made."""
        with self._changed:
            self._drop()
            self._untold_error = self._untold_error or "a line could not be made"

    @property
    def fault(self) -> str:
        """Why lines can't be written now, or that some were dropped a while ago; "" when all is well."""
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
        """Wait until all is written, but no longer than `seconds`, and not for a stream that fails; whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes or bool(self._error), seconds)
            return not self._bytes

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1
        self._dropped_at = time.monotonic()

    def _started(self) -> bool:
        if self._thread is None:
            # A daemon: a write that never returns must not keep the process from its end.
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # The system has no thread to spare now.
                return False
            self._thread = thread
        return True

    # In the thread.

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
                self._untold_error = error or self._untold_error
                tell, untold, reason = self._bytes < self._most_bytes // 2, self._untold, self._untold_error
                if tell:
                    self._untold, self._untold_error = 0, ""
                self._changed.notify_all()
            if tell and (untold or reason):
                self.written_again(untold, reason or "its reader was too slow")

    def _write_all(self, line: bytes) -> str:
        """Write the line, however long that takes; what was wrong meanwhile, "" for nothing."""
        left, problem = memoryview(line), ""
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                # Whoever shares the stream made it non-blocking.
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
    """Stands for sys.stderr, so that tracebacks and warnings, too, go through the writer, a whole line at a time."""

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
