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
        named = _named(server)
        if "was removed from the cluster" in text:
            if named:
                server.world.violated("no member ends for a word", f"{server.name}, which is a member, ended: {error}")
            return "removed"
        if "another disk" in text:
            if named:
                server.world.violated("no member ends for a refusal", f"{server.name}, a member, ended: {error}")
            return "wiped" if server.damaged else "removed"
        if isinstance(_root_cause(error), OSError):
            return "down"
        if server.damaged:
            return "broken"
    if isinstance(error, JournalDamaged) and server.damaged:
        return "broken"
    server.world.violated("fail-stop", f"{server.name} ended: {error!r}")
    return "broken"


def _named(server: Server) -> bool:
    """Whether the newest committed configuration names this server with the disk that it has."""
    newest, node = server.world.observer.newest, server.node
    member = newest.member(server.name) if newest is not None else None
    # One that ended in its start has not read its disk yet.
    disk = node.__dict__.get("incarnation") if node is not None else None
    return member is not None and disk is not None and member.incarnation == disk


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
