"""What becomes of a server whose process ended by itself: whether it was right to end, and whether it may come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.api import LogError
from cluster.storage.journal import JournalDamaged
from tests.cluster.storage.memory_disk import PowerCut
from tests.simulation.defects import Defect

if TYPE_CHECKING:
    from tests.simulation.server import Server


def verdict_on_end(server: Server, error: Exception) -> str:
    """The server's state from now on; a violation where it should have gone on."""
    text = str(error)
    if isinstance(error, PowerCut | Defect):
        return "down"
    if isinstance(error, LogError):
        if "was removed from the cluster" in text:
            return "removed"
        if "another disk" in text and server.damaged:
            return "wiped"
        if isinstance(_root_cause(error), OSError):
            return "down"
        if server.damaged:
            return "broken"
    if isinstance(error, JournalDamaged) and server.damaged:
        return "broken"
    server.world.violated("fail-stop", f"{server.name} ended: {error!r}")
    return "broken"


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
