"""Rules for the rights of a request's caller: endpoints declare their needs with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from volstore.core.acl.check import Rights
from volstore.core.acl.rights import Acl
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.server.call import Call

LIST_VOLUMES = ("csi-list-volume", "csi-read-volume", "csi-mount-volume", "list-jobs")
READ_VOLUME = ("csi-read-volume", "csi-mount-volume", "read-job")
EVERY = "*"
"""The namespace of a request that asks for all that the caller may see."""

Rule = Callable[[Call, State, Rights], bool]
"""Whether somebody with these rights may do what the call asks for. Management may do everything: no rule is asked."""


@dataclass(frozen=True, slots=True)
class Need:
    """The rule that something must be granted: one of `one_of` in the request's namespace, or the level of an area
    (either, where both are stated). `node_secret`: any node's secret will do, too.
    """

    one_of: tuple[str, ...] = ()
    area: tuple[str, str] | None = None
    node_secret: bool = False

    def __call__(self, call: Call, state: State, rights: Rights) -> bool:
        if self.node_secret and rights.node_secret_hash:
            return True
        if self.area is not None and rights.acl.allows_area(*self.area):
            return True
        return bool(self.one_of) and allows_somewhere(state, rights.acl, self.one_of, call.query.namespace)


def nothing(call: Call, state: State, rights: Rights) -> bool:
    """Anybody may, even with a token that isn't known: a health check must not fail because of its token."""
    return True


def management(call: Call, state: State, rights: Rights) -> bool:
    """Only management may."""
    return False


def speaks_for_nodes(call: Call, state: State, rights: Rights) -> bool:
    return bool(rights.node_secret_hash) or rights.acl.allows_area("node", "write")


def must_be_on(call: Call) -> None:
    """Raises ApiError while access control is off: what was written then would be believed to count."""
    if not call.service.settings.acl_enabled:
        raise ApiError(400, "ACL support disabled: start the agents with --acl-enabled")


def allows_somewhere(state: State, acl: Acl, capabilities: tuple[str, ...], namespace: str) -> bool:
    """Whether one of `capabilities` is granted in `namespace`, or (EVERY) in any that there is."""
    if namespace != EVERY:
        return acl.allows_one(capabilities, namespace)
    return acl.management or any(acl.allows_one(capabilities, row.name) for row in state.namespaces())


def visible_namespaces(state: State, acl: Acl, capabilities: tuple[str, ...]) -> tuple[str, ...] | None:
    """The namespaces in which one of `capabilities` is granted, by name; None: all, whatever they are."""
    if acl.management:
        return None
    return tuple(row.name for row in state.namespaces() if acl.allows_one(capabilities, row.name))


def sees_namespace(acl: Acl, name: str) -> bool:
    """Whether anything but deny is granted there: then it is one of the caller's own."""
    return acl.management or bool(acl.capabilities(name) - {"deny"})
