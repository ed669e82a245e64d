"""What a register's answer warns of: what was done, though not as it was said, or what will make trouble later."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from volstore.core.merging import reads_as_init_writes
from volstore.core.model import READER_AS_INIT_WRITES, READER_ONLY, Volume
from volstore.core.state import State
from volstore.http.json.shape import printable

SHOWN = 20
"""Warnings of one answer."""

Visible = Callable[[str], bool]
"""Whether the volumes of a namespace may be named to whoever asked."""


def warnings(state: State, given: tuple[Volume, ...], visible: Visible) -> str:
    """In Nomad's layout; "" for none. `given` as the request has them, `state` after they were registered."""
    texts: list[str] = []
    for volume in given:
        row = state.volume(volume.namespace, volume.id)
        if row is not None:
            texts += [f'volume "{printable(volume.id)}": {text}' for text in _of(state, volume, row, visible)]
    if not texts:
        return ""
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    points = "\n".join(f"* {text}" for text in [*texts[:SHOWN], *more])
    return f"{len(texts)} warning(s):\n\n{points}"


def _of(state: State, given: Volume, row: Volume, visible: Visible) -> Iterator[str]:
    plugin = state.plugin_row(row.plugin_id)
    if plugin is None or not plugin.schedulable:
        yield f'nothing of plugin "{row.plugin_id}" is healthy yet, so it can\'t be claimed until that changes'
    if row.external_id:
        yield from _sharing(state, row, visible)
    if reads_as_init_writes(given):
        yield f'access mode "{READER_AS_INIT_WRITES}" is none of CSI\'s, and is read as "{READER_ONLY}"'
    if given.requested_topologies is not None and given.requested_topologies != row.requested_topologies:
        yield "its topology request is ignored: a volume that exists stays where it is"
    if given.topologies and given.topologies != row.topologies:
        yield "its Topologies are ignored: a volume that exists stays where it is"
    if given.requested_capacity_min > row.capacity > 0:
        yield "the requested capacity is noted, but volstore doesn't expand volumes"


def _sharing(state: State, row: Volume, visible: Visible) -> Iterator[str]:
    others = state.sharing_disk(row)
    if others:
        named = [f'"{other.id}" of namespace "{other.namespace}"' for other in others if visible(other.namespace)]
        which = f"volume {named[0]}" if named else "a volume of another namespace"
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        yield (
            f'{which}{more} of the same plugin has the external ID "{printable(row.external_id)}" too: two writers of '
            "one disk destroy each other's data, and claims on one volume don't count for the other"
        )
