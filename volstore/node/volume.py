"""What the agent knows of a volume besides its record, for this process's life only: what it does and waits for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from volstore.node.codes import BACKOFFS, WAITS
from volstore.node.transitions import NOT_MOUNTED


@dataclass
class Pause:
    """An item (see `steps.STAGING`) that is left alone until then, on the agent's clock."""

    until: float
    reason: str
    failures: int


@dataclass
class Volume:
    """`waits`: why items aren't as they are wanted. `doubts_end`: when a late call isn't expected any more.

    `doubtful_generation`: the plugin's when a call last failed. `forgotten`: the epoch of the attachment whose record
    was removed; until the registry has taken note, its work says still that something is here.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None
    pauses: dict[str, Pause] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    doubts_end: float | None = None
    doubtful_generation: int = 0
    forgotten: int | None = None

    def resting(self, now: float) -> dict[str, str]:
        """Why which items are left alone now. Failures are counted on until something went well."""
        self.pauses = {item: pause for item, pause in self.pauses.items() if pause.until > now or pause.failures}
        return {item: pause.reason for item, pause in self.pauses.items() if pause.until > now}

    def rest(self, item: str, until: float, reason: str) -> None:
        self.pauses[item] = Pause(until, reason, 0)

    def pause(self, item: str, kind: str, reason: str, now: float) -> None:
        """After a failure of a kind of `codes`, or NOT_MOUNTED: longer each time."""
        failures = self.pauses[item].failures + 1 if item in self.pauses else 1
        backoff = BACKOFFS[WAITS if kind == NOT_MOUNTED else kind]
        self.pauses[item] = Pause(now + backoff.after(failures), reason, failures)

    def reasons(self) -> dict[str, str]:
        """Why items aren't as they are wanted; what failed last counts as long as nothing newer is known."""
        return {item: pause.reason for item, pause in self.pauses.items()} | self.waits
