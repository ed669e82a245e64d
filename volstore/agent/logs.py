"""structlog, set up once by the agent: one event a line, for people or for programs, never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog

_METHODS = ("debug", "info", "warning", "error", "exception", "critical")


class _Levelled(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]  # made at run time
    """The logger of every module. Loggers are made once and kept, so a level that changes later changes this class."""


def set_level(level: str) -> None:
    """From now on, for all loggers."""
    filtering = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    for name in _METHODS:
        setattr(_Levelled, name, getattr(filtering, name))


class CountedLog:
    """A logger that counts its events by their names, for metrics."""

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


def configure(level: str, format_: str) -> None:
    """`format_` "console" or "json"; to stderr. Tracebacks come without local variables: those may hold secrets."""
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
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    set_level(level)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=_Levelled,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
