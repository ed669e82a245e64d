"""Keeps a repeated cause from flooding the log: the first is written at once, the rest are counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol


class Logger(Protocol):
    """The part of a structlog logger that `cluster` uses: a snake_case event and its fields."""

    def info(self, event: str, /, **fields: Any) -> Any: ...

    def warning(self, event: str, /, **fields: Any) -> Any: ...

    def error(self, event: str, /, **fields: Any) -> Any: ...


class RateLimit:
    """Decides whether a cause may be logged again. Time is passed in, in seconds of any clock that doesn't go back."""

    def __init__(self, period: float = 10.0, causes: int = 1024) -> None:
        """`causes` bounds the memory: beyond it the cause that was logged longest ago is forgotten."""
        self._period = period
        self._causes = causes
        self._seen: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def admit(self, cause: Hashable, now: float) -> int | None:
        """None: keep silent. Otherwise log it, with this number of lines of its cause held back since the last one."""
        last = self._seen.get(cause)
        if last is not None and now - last[0] < self._period:
            self._seen[cause] = (last[0], last[1] + 1)
            return None
        self._seen[cause] = (now, 0)
        self._seen.move_to_end(cause)
        if len(self._seen) > self._causes:
            self._seen.popitem(last=False)
        return last[1] if last is not None else 0


class RateLimitedLog:
    """A logger whose warnings are limited per cause; a warning says how many like it were `suppressed` before."""

    def __init__(self, log: Logger, period: float = 10.0) -> None:
        self._log = log
        self._limit = RateLimit(period)

    def warning(self, now: float, cause: Hashable, event: str, /, **fields: Any) -> None:
        """Log `event`, unless this `cause` of this `event` was logged less than a period before `now`."""
        suppressed = self._limit.admit((event, cause), now)
        if suppressed is None:
            return
        if suppressed:
            fields["suppressed"] = suppressed
        self._log.warning(event, **fields)
