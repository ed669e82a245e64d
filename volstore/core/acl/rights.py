"""What a token may do: rules as policies state them, compiled into one answer per right and namespace.

Pure: no text is parsed here (`acl_policy.py` does) and no table is read (`access.py` has them). The meaning is that of
Nomad's ACL system: within one name or glob a deny wins over all grants, an exact name beats every glob, and of the
globs the one that leaves the fewest characters to chance counts, alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from volstore.core.frozen import Frozen

DENY, LIST, READ, WRITE, SCALE = "deny", "list", "read", "write", "scale"

_READS = (
    "list-jobs",
    "read-job",
    "csi-list-volume",
    "csi-read-volume",
    "read-job-scaling",
    "list-scaling-policies",
    "read-scaling-policy",
)
_WRITES = (
    "scale-job",
    "submit-job",
    "dispatch-job",
    "read-logs",
    "read-fs",
    "alloc-exec",
    "alloc-lifecycle",
    "csi-mount-volume",
    "csi-write-volume",
)

NAMESPACE_POLICIES: dict[str, tuple[str, ...]] = {
    DENY: (DENY,),
    READ: _READS,
    WRITE: (*_READS, *_WRITES),
    SCALE: ("list-scaling-policies", "read-scaling-policy", "read-job-scaling", "scale-job"),
}
"""The capabilities that a namespace's `policy` stands for, in the order in which they are shown."""

CAPABILITIES = frozenset((DENY, *_READS, *_WRITES, "alloc-node-exec", "csi-register-plugin", "sentinel-override"))

HOST_VOLUME_POLICIES: dict[str, tuple[str, ...]] = {
    DENY: (DENY,),
    READ: ("mount-readonly",),
    WRITE: ("mount-readonly", "mount-readwrite"),
}
HOST_VOLUME_CAPABILITIES = frozenset((DENY, "mount-readonly", "mount-readwrite"))

AREAS: dict[str, tuple[str, ...]] = {
    "agent": (DENY, READ, WRITE),
    "node": (DENY, READ, WRITE),
    "operator": (DENY, READ, WRITE),
    "quota": (DENY, READ, WRITE),
    "plugin": (DENY, LIST, READ),
}
"""What is ruled as a whole, and the levels that a policy can give it: the first forbids, each of the others includes
those before it."""


SNAPSHOT_SAVE = "snapshot-save"
OPERATOR_CAPABILITIES = frozenset((SNAPSHOT_SAVE,))
"""What `operator { capabilities = […] }` may grant besides its policy. `write` includes all of it, `read` nothing."""


class NamedRule(Frozen, frozen=True):
    """What a policy says of the namespaces (or host volumes) that `name` matches; a `*` is any run of characters.

    `capabilities` holds what was listed and what `policy` stands for.
    """

    name: str
    policy: str = ""
    capabilities: tuple[str, ...] = ()


class Rules(Frozen, frozen=True):
    """What one policy says; an empty string where it says nothing of an area.

    `operator` is a level, capabilities, or both, with a space between.
    """

    namespaces: tuple[NamedRule, ...] = ()
    host_volumes: tuple[NamedRule, ...] = ()
    agent: str = ""
    node: str = ""
    operator: str = ""
    quota: str = ""
    plugin: str = ""

    @property
    def empty(self) -> bool:
        return self == Rules()


def level_of_rules(rules: Rules) -> int:
    """The feature level (levels.py) that a member needs to know what `rules` grant."""
    return 1 if rules.operator in ("", *AREAS["operator"]) else 2


class Acl:
    """The rights of all of a token's policies together. Nothing stated is nothing granted."""

    __slots__ = ("_areas", "_exact", "_globs", "_known", "_operator", "management")

    def __init__(self, policies: Iterable[Rules] = (), *, management: bool = False) -> None:
        self.management = management
        self._exact: dict[str, frozenset[str]] = {}
        self._globs: dict[str, frozenset[str]] = {}
        self._areas: dict[str, int] = {}
        self._known: dict[str, frozenset[str]] = {}
        self._operator: set[str] = set()
        for rules in policies:
            for rule in rules.namespaces:
                table = self._globs if "*" in rule.name else self._exact
                table[rule.name] = _with_deny(table.get(rule.name, frozenset()) | set(rule.capabilities))
            for area, levels in AREAS.items():
                for stated in getattr(rules, area).split():
                    if stated in levels:
                        self._raise(area, levels.index(stated))
                    else:
                        self._operator.add(stated)

    def _raise(self, area: str, level: int) -> None:
        """Level 0 is deny, which nothing lifts again."""
        known = self._areas.get(area)
        self._areas[area] = level if known is None else 0 if 0 in (known, level) else max(known, level)

    def allows(self, capability: str, namespace: str) -> bool:
        return self.management or capability in self.capabilities(namespace)

    def allows_one(self, capabilities: Iterable[str], namespace: str) -> bool:
        """Whether at least one of them is granted there."""
        return self.management or not self.capabilities(namespace).isdisjoint(capabilities)

    def allows_area(self, area: str, level: str) -> bool:
        """Whether `level` (as AREAS names them) is granted for "agent", "node", "operator", "quota" or "plugin"."""
        return self.management or self._areas.get(area, 0) >= AREAS[area].index(level) > 0

    def allows_operator(self, capability: str) -> bool:
        """Whether one of OPERATOR_CAPABILITIES is granted; a deny of the area wins."""
        denied = self._areas.get("operator") == 0
        return self.allows_area("operator", WRITE) or (capability in self._operator and not denied)

    def capabilities(self, namespace: str) -> frozenset[str]:
        """What is granted in a namespace (management aside, which needs none)."""
        exact = self._exact.get(namespace)
        if exact is not None or not self._globs:
            return exact or frozenset()
        known = self._known.get(namespace)
        if known is None:
            if len(self._known) >= _KNOWN_AT_MOST:
                self._known.clear()
            known = self._known[namespace] = self._by_glob(namespace)
        return known

    def _by_glob(self, namespace: str) -> frozenset[str]:
        matching = [glob for glob in self._globs if glob_matches(glob, namespace)]
        if not matching:
            return frozenset()
        return self._globs[min(matching, key=lambda glob: (_left_to_chance(glob, namespace), glob))]


_KNOWN_AT_MOST = 1024
"""Namespaces whose glob is remembered: the names come from requests, so there may be any number of them."""

MANAGEMENT = Acl(management=True)


def _with_deny(capabilities: frozenset[str]) -> frozenset[str]:
    return frozenset((DENY,)) if DENY in capabilities else capabilities


def _left_to_chance(glob: str, name: str) -> int:
    """How many of the name's characters a glob's stars stand for: the fewer, the more specific it is."""
    return len(name) - len(glob) + glob.count("*")


def glob_matches(glob: str, name: str) -> bool:
    """Whether `name` is `glob` with each `*` replaced by any characters, none included. Linear in both lengths."""
    first, *rest = glob.split("*")
    if not rest:
        return glob == name
    last = rest.pop()
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in rest:
        # The earliest place is always good enough: what it leaves for the parts after it is the most.
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
