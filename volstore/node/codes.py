"""What an answer of a driver means: the only table of gRPC codes.

Measured on eight drivers: a call that timed out, or whose driver failed in it, may still be carried out minutes later,
so most errors say "unknown", and only the same call again or its negation settles it.
"""

from __future__ import annotations

from dataclasses import dataclass

NOT_SENT = "NOT_SENT"
"""Our own code: there was no connection, so nothing happened."""

DONE = "done"
UNKNOWN = "unknown"
PENDING = "pending"
WAITS = "waits"
FINAL = "final"

_CLASSES = {
    "OK": DONE,
    "UNAVAILABLE": UNKNOWN,
    "DEADLINE_EXCEEDED": UNKNOWN,
    "CANCELLED": UNKNOWN,
    "INTERNAL": UNKNOWN,
    "UNKNOWN": UNKNOWN,
    "DATA_LOSS": UNKNOWN,
    "ABORTED": PENDING,
    "FAILED_PRECONDITION": WAITS,
    "RESOURCE_EXHAUSTED": WAITS,
    "INVALID_ARGUMENT": FINAL,
    "ALREADY_EXISTS": FINAL,
    "OUT_OF_RANGE": FINAL,
    "UNIMPLEMENTED": FINAL,
    "PERMISSION_DENIED": FINAL,
    "UNAUTHENTICATED": FINAL,
    "NOT_FOUND": FINAL,
}
_NOTHING_LEFT = frozenset(
    {"NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteVolume", "DeleteSnapshot"}
)
"""Calls for which NOT_FOUND is as good as OK."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before the next try: the first, doubled up to the longest."""

    first: float
    longest: float

    def after(self, failures: int) -> float:
        """`failures` ≥ 1 in a row."""
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 30)))


BACKOFFS = {
    NOT_SENT: Backoff(1, 30),
    UNKNOWN: Backoff(1, 60),
    PENDING: Backoff(1, 60),
    WAITS: Backoff(10, 300),
    FINAL: Backoff(10, 300),
}


def classify(call: str, code: str) -> str:
    """DONE, NOT_SENT, UNKNOWN, PENDING, WAITS or FINAL; a code that gRPC doesn't have is UNKNOWN."""
    if code == NOT_SENT:
        return NOT_SENT
    if code == "NOT_FOUND" and call in _NOTHING_LEFT:
        return DONE
    if code == "RESOURCE_EXHAUSTED" and call == "CreateVolume":
        return FINAL
    return _CLASSES.get(code, UNKNOWN)
