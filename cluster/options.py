"""Options of a member; the defaults suit one LAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.api import Member
from cluster.net.transport import TransportLimits
from cluster.raft.engine import Timing
from cluster.storage.sealing import Keyring


@dataclass(frozen=True, slots=True)
class Options:
    """`members` are the first ones, this one included; only a node without any log reads them.

    Times in seconds, sizes in bytes. `bind` and `advertise` are "HOST:PORT"; the members know the advertised one.
    A snapshot is written after `snapshot_entries` log entries, or after `snapshot_bytes` of them if that is more than
    the last snapshot's size (so that snapshots cost no more than the log itself). At most `trailing_entries` and
    `trailing_bytes` of the log stay behind it, so that a member that was away for a moment needs no snapshot; up to
    `snapshot_bytes` while a connected member still needs them.
    Entries and snapshots are encrypted on this disk where `keys` have a current one.
    """

    cluster_id: str
    name: str
    bind: str
    advertise: str
    members: tuple[Member, ...]
    meta: Mapping[str, str] = field(default_factory=dict)
    timing: Timing = field(default_factory=Timing)
    limits: TransportLimits = field(default_factory=TransportLimits)
    snapshot_entries: int = 32_768
    snapshot_bytes: int = 32 << 20
    trailing_entries: int = 1024
    trailing_bytes: int = 8 << 20
    segment_bytes: int = 16 << 20
    reserve_bytes: int = 4 << 20
    queue_bytes: int = 64 << 20
    keys: Keyring = field(default_factory=Keyring)
