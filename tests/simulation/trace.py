"""What happened in a run, a line an event, for people and for comparing two runs of one seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Trace:
    """Lines of virtual time, node, event and fields; `keep` False only counts them, for speed."""

    def __init__(self, now: Callable[[], float], *, keep: bool) -> None:
        self._now = now
        self.keep = keep
        self.lines: list[str] = []
        self.counts: dict[str, int] = {}

    def note(self, node: str, event: str, /, **fields: Any) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1
        if self.keep:
            text = " ".join(f"{name}={_brief(value)}" for name, value in fields.items())
            self.lines.append(f"{self._now():10.4f} {node:7} {event} {text}".rstrip())

    def logger(self, node: str) -> NodeLog:
        return NodeLog(self, node)


class NodeLog:
    """`cluster.net.rate_limit.Logger` of one node."""

    def __init__(self, trace: Trace, node: str) -> None:
        self._trace = trace
        self._node = node

    def info(self, event: str, /, **fields: Any) -> None:
        self._trace.note(self._node, event, **fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._trace.note(self._node, event, **fields)

    def error(self, event: str, /, **fields: Any) -> None:
        fields.pop("exc_info", None)
        self._trace.note(self._node, event, **fields)


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bytes):
        return value.hex()[:16]
    if isinstance(value, set | frozenset):
        value = sorted(value)
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."
