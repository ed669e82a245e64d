"""What each endpoint needs of its caller: a table by the endpoints' names (contract.md, "Access"), and its reading.

Writes aren't in it: what they need is the command's business (`acl_rules.py`), as `apply` asks it once more. An
endpoint that is in neither is management's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from volstore.core.acl.check import MOUNT, READ_JOB, WRITE_VOLUME, Rights
from volstore.core.acl.rights import SNAPSHOT_SAVE, Acl
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.server.asker import permission_denied
from volstore.http.server.call import Call
from volstore.http.server.declaration import Endpoint, Write

LIST_VOLUMES = ("csi-list-volume", "csi-read-volume", "csi-mount-volume", "list-jobs")
READ_VOLUME = ("csi-read-volume", "csi-mount-volume", "read-job")
SEARCH = ("read-job", "list-jobs", "csi-list-volume", "csi-read-volume")
EVERY = "*"
"""The namespace of a request that asks for all that the caller may see."""


@dataclass(frozen=True, slots=True)
class Need:
    """What must be granted: one of `one_of` in the request's namespace, or the level of an area, whichever is stated
    (either, where both are). `node_secret`: any node's secret will do, too. Nothing stated is nothing needed.
    """

    one_of: tuple[str, ...] = ()
    area: tuple[str, str] | None = None
    node_secret: bool = False

    def met_by(self, state: State, rights: Rights, namespace: str) -> bool:
        if rights.acl.management or not (self.one_of or self.area):
            return True
        if self.node_secret and rights.node_secret_hash:
            return True
        if self.area is not None and rights.acl.allows_area(*self.area):
            return True
        return bool(self.one_of) and allows_somewhere(state, rights.acl, self.one_of, namespace)


NOTHING = Need()

NEEDS: dict[str, Need] = {
    "listVolumes": Need(LIST_VOLUMES),
    "readVolume": Need(READ_VOLUME, node_secret=True),
    "listPlugins": Need(area=("plugin", "list")),
    "readPlugin": Need(area=("plugin", "read")),
    "listNodes": Need(area=("node", "read")),
    "readNode": Need(area=("node", "read")),
    "members": Need(area=("node", "read")),
    "self": Need(area=("agent", "read")),
    "listAllocations": Need(READ_JOB),
    "search": Need(SEARCH, area=("node", "read")),
    "autopilotConfiguration": Need(area=("operator", "read")),
    "autopilotHealth": Need(area=("operator", "read")),
    "operatorNode": Need(area=("operator", "read")),
    "operatorHealth": Need(area=("operator", "read")),
    # What is shown here is only what the caller may see; the questions see to it.
    "listNamespaces": NOTHING,
    "listAclPolicies": NOTHING,
    # Proves itself otherwise: bootstrapping works once, a token by its own secret.
    "bootstrapAcl": NOTHING,
    "readOwnAclToken": NOTHING,
    **dict.fromkeys(
        (
            "leader",
            "peers",
            "regions",
            "health",
            "live",
            "ready",
            "leads",
            "openapi",
            "createVolume",
            "deleteVolume",
            "listExternalVolumes",
            "listSnapshots",
            "createSnapshot",
            "deleteSnapshot",
        ),
        NOTHING,
    ),
}

MANAGEMENT_ALONE = frozenset(
    ("raftConfiguration", "addRaftPeer", "removeRaftPeer", "transferLeadership", "listAclTokens", "restoreSnapshot")
)
"""Named only so that a test can tell a decision from an endpoint that was forgotten."""


def _own_policy(call: Call, state: State, rights: Rights) -> bool:
    token = rights.token
    return token is not None and call.ids[0] in token.policies


def _own_token(call: Call, state: State, rights: Rights) -> bool:
    return rights.token is not None and rights.token.accessor_id == call.ids[0]


def _allocation(call: Call, state: State, rights: Rights) -> bool:
    """By the namespace that it is in, whatever the request says; one that isn't there, by what the request says."""
    allocation = state.allocation(call.ids[0])
    namespace = call.query.namespace if allocation is None else allocation.namespace
    return allows_somewhere(state, rights.acl, READ_JOB, namespace)


def _heartbeat(call: Call, state: State, rights: Rights) -> bool:
    node = state.node(call.ids[0])
    if rights.acl.allows_area("node", "write"):
        return True
    return node is not None and bool(node.secret_hash) and node.secret_hash == rights.node_secret_hash


def _metrics(call: Call, state: State, rights: Rights) -> bool:
    return not call.service.settings.metrics_require_token or rights.acl.allows_area("agent", "read")


def _save(call: Call, state: State, rights: Rights) -> bool:
    """A backup shows every secret, and a restore makes any token: it is management's."""
    return rights.acl.allows_operator(SNAPSHOT_SAVE)


def _namespace(call: Call, state: State, rights: Rights) -> bool:
    return sees_namespace(rights.acl, call.ids[0])


SPECIAL: dict[str, Callable[[Call, State, Rights], bool]] = {
    "readAclPolicy": _own_policy,
    "readAclToken": _own_token,
    "readAllocation": _allocation,
    "heartbeat": _heartbeat,
    "metrics": _metrics,
    "saveSnapshot": _save,
    "readNamespace": _namespace,
}
"""What depends on the thing that is asked for."""


def _register(call: Call, state: State, rights: Rights) -> bool:
    return rights.acl.allows(WRITE_VOLUME, call.query.namespace) and rights.acl.allows_area("plugin", "read")


def _claim(call: Call, state: State, rights: Rights) -> bool:
    if rights.node_secret_hash:
        return True
    return rights.acl.allows(MOUNT, call.query.namespace) and rights.acl.allows_area("plugin", "read")


def _report_node(call: Call, state: State, rights: Rights) -> bool:
    """Of a node with a secret anybody may send a report: it may have the secret in it."""
    if rights.acl.allows_area("node", "write"):
        return True
    known = state.node(call.ids[0])
    return known is not None and bool(known.secret_hash)


def _as_node(call: Call, state: State, rights: Rights) -> bool:
    return bool(rights.node_secret_hash) or rights.acl.allows_area("node", "write")


BEFORE_THE_BODY: dict[str, Callable[[Call, State, Rights], bool]] = {
    "registerVolumes": _register,
    "claimVolume": _claim,
    "reportNode": _report_node,
    "setNodeStatus": _as_node,
    "reportAllocation": _as_node,
    "reportAllocations": _as_node,
}
"""Writes with a body, and whether there is a body with which the caller could have them done: never less than
`acl_rules.ALLOWED` grants. Those that aren't here take management.
"""


def admit(call: Call, endpoint: Endpoint, state: State) -> None:
    """Before the body is read. Raises ApiError (403) where the caller lacks the right whatever is in it."""
    authorize(call, endpoint, state)
    if not isinstance(endpoint, Write) or endpoint.body is None or not call.asker.restricted:
        return
    rights, may = call.asker.rights(state), BEFORE_THE_BODY.get(endpoint.name)
    if not (rights.acl.management or (may is not None and may(call, state, rights))):
        raise permission_denied()


def authorize(call: Call, endpoint: Endpoint, state: State) -> None:
    """Raises ApiError (403) unless the caller may do this, as `state` has it.

    What needs nothing is done for a token that isn't known, too: a health check must not fail with its token.
    """
    need, special = NEEDS.get(endpoint.name), SPECIAL.get(endpoint.name)
    if not call.asker.restricted or need is NOTHING:
        return
    rights = call.asker.rights(state)
    if rights.acl.management or isinstance(endpoint, Write):
        return
    if need is not None:
        allowed = need.met_by(state, rights, call.query.namespace)
    else:
        allowed = special is not None and special(call, state, rights)
    if not allowed:
        raise permission_denied()


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
