"""What an applied command touched, for whoever wakes the queries that wait for it."""

from __future__ import annotations

from msgspec import Struct

from volstore.core.model import Allocation, Node, Plugin, Volume


class VolumeChanged(Struct, frozen=True):
    """A volume came (`old` None), changed, or went (`new` None)."""

    old: Volume | None
    new: Volume | None


class PluginChanged(Struct, frozen=True):
    """A plugin's row changed. It went when `new` is None or not `present` (then its volumes keep the row).

    The answers of its volumes changed only if `touch_index` moved or the row went; its own answer always did.
    """

    old: Plugin | None
    new: Plugin | None


class NodeChanged(Struct, frozen=True):
    """A node came, reported, changed its status, or went. The plugins that it moves have events of their own."""

    old: Node | None
    new: Node | None


class Restored(Struct, frozen=True):
    """A backup replaced everything."""


class AllocationChanged(Struct, frozen=True):
    """An allocation came, was reported again, or went. The volumes that show it have events of their own."""

    old: Allocation | None
    new: Allocation | None


class NamespacesChanged(Struct, frozen=True):
    """A namespace came, changed, or went."""


class HostChanged(Struct, frozen=True):
    """What a node's agent is to do changed."""

    id: str


class AccessChanged(Struct, frozen=True):
    """A policy or token (`kind`, as access.POLICY and access.TOKEN) came, changed, or went.

    `id` is the policy's name or the token's accessor.
    """

    kind: str
    id: str


Event = (
    AllocationChanged
    | VolumeChanged
    | PluginChanged
    | NodeChanged
    | Restored
    | NamespacesChanged
    | HostChanged
    | AccessChanged
)
