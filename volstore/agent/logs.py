"""Sets up structlog for the agent: one event per line, for people or for programs, never a secret.

Logging never raises and never blocks: a line that can't be formatted counts as dropped, and `LogWriter` writes the
others to stderr.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog

from volstore.agent.log_writer import LogWriter, QueuedStream

FLUSH_SECONDS = 2.0
"""How long the process's end waits for lines that aren't written yet."""
_STDERR = 2
_METHODS = ("debug", "info", "warning", "error", "exception", "critical")


class _Levelled(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]  # made at run time
    """The logger of every module. Loggers are created once and cached, so `set_level` changes this class."""

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **event_kw: Any) -> Any:
        try:
            return super()._proxy_to_logger(method_name, event, **event_kw)
        except Exception:
            _writer.lost()


def set_level(level: str) -> None:
    """Change the level of all loggers."""
    filtering = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    for name in _METHODS:
        setattr(_Levelled, name, getattr(filtering, name))


class CountedLog:
    """Logger decorator that counts events by name, for metrics."""

    def __init__(self, log: Any) -> None:
        self.counts: dict[str, int] = {}
        self._log = log

    def info(self, event: str, /, **fields: Any) -> None:
        self._count(event)
        self._log.info(event, **fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._count(event)
        self._log.warning(event, **fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self._count(event)
        self._log.error(event, **fields)

    def _count(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1


_writer = LogWriter(_STDERR)


def dropped() -> int:
    """The number of lines dropped since the start."""
    return _writer.dropped


def fault() -> str:
    """Why this process can't write its log, or couldn't recently; "" if it can."""
    return _writer.fault


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait at most `seconds` until everything logged is written. Returns whether it is."""
    return _writer.flush(seconds)


def configure(level: str, format_: str) -> None:
    """Log to stderr, which then belongs to the writer's thread. `format_` is "console" or "json".

    Tracebacks show no local variables: those may hold secrets.
    """
    log = structlog.get_logger("volstore.agent.logs")
    _writer.written_again = lambda count, reason: log.warning("log_written_again", dropped=count, reason=reason)
    if sys.stderr is None:
        # It was closed when the process began: its number may belong to a file of the registry by now.
        _writer.descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    stream: Any = QueuedStream(_writer)
    if not isinstance(sys.stderr, QueuedStream):
        atexit.register(flush)
        sys.stderr = stream
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if format_ == "json":
        rendering: list[Callable[..., Any]] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        rendering = [
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    set_level(level)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=_Levelled,
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
