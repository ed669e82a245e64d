"""Which volumes a list asks for, and the indexes that find them in order without looking at the others."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, repeat, takewhile

from volstore.core.claim_counts import MANY, ClaimCounts, size
from volstore.core.model import Volume
from volstore.core.ordered import Ordered, with_prefix

Key = tuple[str, str]
"""A volume's namespace and ID."""

_NOWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class VolumeQuery:
    """The filters of a list of volumes; all combine.

    `namespace` None is every namespace. The others are prefixes, "" is no filter; `node_id` asks for volumes claimed
    on such nodes, by read, write or past claims.
    """

    namespace: str | None = None
    prefix: str = ""
    plugin_id: str = ""
    node_id: str = ""

    @property
    def whole(self) -> bool:
        """No filter but the namespace."""
        return not (self.prefix or self.plugin_id or self.node_id)

    def matches(self, volume: Volume) -> bool:
        return self.fits(volume.namespace, volume.id, volume.plugin_id) and (
            not self.node_id or any(node.startswith(self.node_id) for node in claimed_nodes(volume))
        )

    def fits(self, namespace: str, volume_id: str, plugin_id: str) -> bool:
        """Whether all filters but `node_id` take a volume that has these."""
        return (
            (self.namespace is None or namespace == self.namespace)
            and volume_id.startswith(self.prefix)
            and plugin_id.startswith(self.plugin_id)
        )


def claimed_nodes(volume: Volume) -> frozenset[str]:
    """The IDs of the nodes on which the volume is claimed, past claims included."""
    if not volume.in_use:
        return frozenset()
    claims = (volume.read_claims, volume.write_claims, volume.past_claims)
    return frozenset(claim.node_id for by_allocation in claims for claim in by_allocation.values())


def claimants(volume: Volume) -> set[str]:
    """The IDs of the allocations that hold the volume, by any claim."""
    return {*volume.read_claims, *volume.write_claims, *volume.past_claims}


def _holds(volume: Volume, allocation_id: str) -> bool:
    return (
        allocation_id in volume.read_claims
        or allocation_id in volume.write_claims
        or allocation_id in volume.past_claims
    )


class _Keys:
    """Volume keys in order, as each namespace's IDs: two strings compare in a third of the time that pairs take."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[str, Ordered[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._ids)

    def __contains__(self, namespace: str) -> bool:
        return namespace in self._ids

    def __iter__(self) -> Iterator[Key]:
        return chain.from_iterable(self.span(namespace) for namespace in self.namespaces())

    def namespaces(self) -> list[str]:
        """Those that have a key, in order."""
        return sorted(self._ids)

    def add(self, key: Key) -> None:
        namespace, id = key
        ids = self._ids.get(namespace)
        if ids is None:
            ids = self._ids[namespace] = Ordered()
        ids.add(id)

    def remove(self, key: Key) -> None:
        namespace, id = key
        ids = self._ids[namespace]
        ids.remove(id)
        if not ids:
            del self._ids[namespace]

    def span(self, namespace: str, prefix: str = "", after: Key | None = None) -> Iterator[Key]:
        """The keys of one namespace whose IDs start with `prefix`, strictly after `after`."""
        ids = self._ids.get(namespace)
        if ids is None or (after is not None and after[0] > namespace):
            return iter(())
        first, beyond = prefix, False
        if after is not None and after[0] == namespace and after[1] >= prefix:
            first, beyond = after[1], True
        found = ids.starting(first, after=beyond)
        return zip(repeat(namespace), takewhile(lambda id: id.startswith(prefix), found) if prefix else found)


class _Groups:
    """Volume keys by a name (of a plugin, of a node): names in order, and each name's keys in order."""

    __slots__ = ("_by_name", "_names")

    def __init__(self) -> None:
        self._names: Ordered[str] = Ordered()
        self._by_name: dict[str, _Keys] = {}

    def add(self, name: str, key: Key) -> None:
        keys = self._by_name.get(name)
        if keys is None:
            keys = self._by_name[name] = _Keys()
            self._names.add(name)
        keys.add(key)

    def remove(self, name: str, key: Key) -> None:
        keys = self._by_name[name]
        keys.remove(key)
        if not keys:
            del self._by_name[name]
            self._names.remove(name)

    def named(self, name: str) -> _Keys | None:
        return self._by_name.get(name)

    def names(self) -> Iterator[str]:
        return iter(self._names)

    def with_prefix(self, prefix: str) -> list[_Keys]:
        return [self._by_name[name] for name in with_prefix(self._names, prefix)]


class VolumeIndex:
    """The keys of all volumes in the order of lists: whole, by plugin, by node and by allocation; and by disk."""

    __slots__ = ("_all", "_by_allocation", "_by_disk", "_by_node", "_by_plugin", "_counts")

    def __init__(self) -> None:
        self._all = _Keys()
        self._by_plugin = _Groups()
        self._by_node = _Groups()
        self._by_allocation: dict[str, set[Key]] = {}
        self._by_disk: dict[str, Key | set[Key]] = {}
        """By external ID; most have one key, and need no set for it."""
        self._counts: dict[Key, ClaimCounts] = {}

    def replace(
        self, key: Key, old: Volume | None, new: Volume | None, changed: Collection[str] | None = None
    ) -> frozenset[str] | set[str]:
        """Follow the volume of `key` from `old` to `new`; None where it wasn't there or isn't any more.

        `changed`: the allocations whose claims alone differ; None: any may. Returns the nodes that claim it no more.
        """
        if old is None:
            self._all.add(key)
        elif new is None:
            self._all.remove(key)
        old_disk = old.external_id if old else ""
        new_disk = new.external_id if new else ""
        if old_disk != new_disk:
            self._follow_disk(key, old_disk, new_disk)
        old_plugin = old.plugin_id if old else None
        new_plugin = new.plugin_id if new else None
        if old_plugin != new_plugin:
            if old_plugin is not None:
                self._by_plugin.remove(old_plugin, key)
            if new_plugin is not None:
                self._by_plugin.add(new_plugin, key)
        return self._follow_claims(key, old, new, changed)

    def _follow_disk(self, key: Key, old: str, new: str) -> None:
        if old:
            there = self._by_disk[old]
            if isinstance(there, set):
                there.remove(key)
            if not isinstance(there, set) or not there:
                del self._by_disk[old]
        if new:
            there = self._by_disk.setdefault(new, key)
            if isinstance(there, set):
                there.add(key)
            elif there != key:
                self._by_disk[new] = {there, key}

    def on_disk(self, external_id: str) -> list[Key]:
        """The volumes with this external ID, of whatever plugin, in order."""
        there = self._by_disk.get(external_id)
        if there is None:
            return []
        return sorted(there) if isinstance(there, set) else [there]

    def claiming(self) -> list[str]:
        """The allocations that claim anything, in order."""
        return sorted(self._by_allocation)

    def _follow_claims(
        self, key: Key, old: Volume | None, new: Volume | None, changed: Collection[str] | None
    ) -> frozenset[str] | set[str]:
        if (old is None or not old.in_use) and (new is None or not new.in_use):
            return _NOWHERE
        counts = self._counts.get(key)
        left: frozenset[str] | set[str]
        came: frozenset[str] | set[str]
        if counts is not None and changed is not None and old is not None and new is not None:
            left, came = counts.move(old, new, changed)
            before = {id for id in changed if _holds(old, id)}
            after = {id for id in changed if _holds(new, id)}
        else:
            old_nodes = claimed_nodes(old) if old else _NOWHERE
            new_nodes = claimed_nodes(new) if new else _NOWHERE
            left, came = old_nodes - new_nodes, new_nodes - old_nodes
            before = claimants(old) if old else set()
            after = claimants(new) if new else set()
            counts = None
        for node in left:
            self._by_node.remove(node, key)
        for node in came:
            self._by_node.add(node, key)
        for allocation in before - after:
            keys = self._by_allocation[allocation]
            keys.remove(key)
            if not keys:
                del self._by_allocation[allocation]
        for allocation in after - before:
            self._by_allocation.setdefault(allocation, set()).add(key)
        self._keep_counts(key, new, counts)
        return left

    def _keep_counts(self, key: Key, volume: Volume | None, counts: ClaimCounts | None) -> None:
        """`counts` are the volume's, if they were moved with it. They stay a while below the bound, as the next claim
        would make them again."""
        claims = 0 if volume is None else size(volume)
        if volume is not None and counts is None and claims > MANY:
            self._counts[key] = ClaimCounts(volume)
        elif claims <= MANY // 2 or (counts is None and claims <= MANY):
            self._counts.pop(key, None)

    def counts(self, volume: Volume) -> ClaimCounts:
        """Of the claims that this volume's present row has. Not to be changed."""
        return self._counts.get((volume.namespace, volume.id)) or ClaimCounts(volume)

    def candidates(self, query: VolumeQuery, after: Key | None) -> Iterator[Key]:
        """Keys in order, strictly after `after`, among them all that `query` takes; exact in namespace and prefix.

        Costs what it yields, for the filters that `query` doesn't leave to the narrowest index.
        """
        if query.node_id:
            ranges = self._by_node.with_prefix(query.node_id)
        elif query.plugin_id:
            ranges = self._by_plugin.with_prefix(query.plugin_id)
        else:
            ranges = [self._all]
        namespaces = self._all.namespaces() if query.namespace is None else [query.namespace]
        return chain.from_iterable(
            _merged([keys.span(namespace, query.prefix, after) for keys in ranges]) for namespace in namespaces
        )

    def uses_plugin(self, plugin_id: str, namespace: str | None = None) -> bool:
        """Whether any volume (of that namespace) names this plugin."""
        keys = self._by_plugin.named(plugin_id)
        return keys is not None and (namespace is None or namespace in keys)

    def claimed_by(self, allocation_id: str) -> list[Key]:
        return sorted(self._by_allocation.get(allocation_id, ()))

    def claimed_on(self, node_id: str) -> list[Key]:
        return list(self._by_node.named(node_id) or ())

    def nodes(self) -> Iterator[str]:
        """The IDs of the nodes on which anything is claimed, in order."""
        return self._by_node.names()


def _merged(spans: list[Iterator[Key]]) -> Iterator[Key]:
    """The keys of all spans in order, each once: a volume claimed on several nodes is in several."""
    if len(spans) == 1:
        return spans[0]
    return (key for key, _ in groupby(heapq.merge(*spans)))
