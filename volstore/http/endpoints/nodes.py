"""The nodes' endpoints: client nodes report themselves and their plugins here (in the reference by internal RPC)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from operator import attrgetter

from msgspec.structs import replace

from volstore.core.acl.check import Rights
from volstore.core.attach.commands import PutManagedNode
from volstore.core.commands import Command, DeleteNode, Outcome, PutNode, SetNodeStatus
from volstore.core.state import State
from volstore.http.endpoints.filter_shapes import NODE
from volstore.http.endpoints.node_body import REPORT, STATUS, read_node, read_status
from volstore.http.endpoints.paging import Asked, Order, answer, wanted
from volstore.http.endpoints.render import node_item, node_view
from volstore.http.endpoints.views import NodeItem, NodeReportedView, NodeView, encode
from volstore.http.endpoints.volumes import no_body
from volstore.http.json.parameters import BLOCKING, LISTING
from volstore.http.json.replies import Json, Reply
from volstore.http.registry import Contact
from volstore.http.server.call import Call, path_disagrees
from volstore.http.server.declaration import Absent, Operation, Question, Read, Write
from volstore.http.server.rights import Need, speaks_for_nodes
from volstore.http.server.watch import NodesTopic, NodeTopic, Topic

_ORDER = Order(attrgetter("id"))

_MISSING = "missing node ID"


@dataclass(frozen=True, slots=True)
class ListNodes:
    prefix: str
    want: Asked

    def topic(self, state: State) -> tuple[Topic, str]:
        return NodesTopic(self.prefix), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.nodes_moved_since(self.prefix, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        return await answer(state.nodes(self.prefix), self.want, _ORDER, node_item, NODE, node_view)


@dataclass(frozen=True, slots=True)
class ReadNode:
    id: str

    def topic(self, state: State) -> tuple[Topic, str]:
        return NodeTopic(self.id), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.node_moved_since(self.id, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        node = state.node(self.id)
        if node is None:
            raise Absent("node not found")
        return Reply(json=Json(encode(node_view(node))))


def _list(call: Call) -> Question:
    for name in ("os", "resources"):  # both show nothing here: nodes don't report what they would add
        call.query.field_flag(name, doing="Failed to parse node list fields: ")
    return ListNodes(call.query.text("prefix"), wanted(call.query, NODE))


def _read(call: Call) -> Question:
    return ReadNode(call.path_id(_MISSING))


def _put(call: Call) -> Command:
    path_id, report = call.path_id(_MISSING), read_node(call.body)
    node = report.node
    if node.id not in ("", path_id):
        raise path_disagrees("node", path_id, node.id)
    named = replace(node, id=path_id)
    return PutManagedNode(named) if report.manages else PutNode(named)


def _set_status(call: Call) -> Command:
    return SetNodeStatus(call.path_id(_MISSING), read_status(call.body))


def _delete(call: Call) -> Command:
    return DeleteNode(call.path_id(_MISSING))


def _reported(call: Call, command: Command, outcome: Outcome) -> Json:
    """A node that is down isn't expected to be heard of."""
    registry, id = call.service.registry, call.path_id(_MISSING)
    node = registry.state.node(id)
    return Json(
        encode(
            NodeReportedView(
                heartbeat_ttl=0 if node is None or node.status == "down" else registry.heartbeat_ttl(id),
                index=outcome.index,
                node_modify_index=outcome.index if node is None else node.modify_index,
                num_nodes=registry.state.node_count(),
            )
        )
    )


async def _heartbeat(call: Call) -> Reply:
    """It counts where the leader is, and is no command, unless it makes the node ready."""
    deadline = asyncio.get_running_loop().time() + call.service.settings.deadline
    heard = await call.service.registry.heartbeat(call.path_id(_MISSING), deadline)
    return Reply(
        json=Json(
            encode(
                NodeReportedView(
                    heartbeat_ttl=heard.ttl,
                    index=heard.index,
                    node_modify_index=heard.node_modify_index,
                    num_nodes=heard.node_count,
                )
            )
        )
    )


def _may_report(call: Call, state: State, rights: Rights) -> bool:
    """Anybody may send a report of a node with a secret: the report may have that secret in it."""
    if rights.acl.allows_area("node", "write"):
        return True
    known = state.node(call.ids[0])
    return known is not None and bool(known.secret_hash)


def _is_node(call: Call, state: State, rights: Rights) -> bool:
    node = state.node(call.ids[0])
    if rights.acl.allows_area("node", "write"):
        return True
    return node is not None and bool(node.secret_hash) and node.secret_hash == rights.node_secret_hash


LIST = Read(
    name="listNodes",
    need=Need(area=("node", "read")),
    summary="List nodes",
    answer=list[NodeItem],
    parameters=("prefix", "os", "resources", *LISTING, *BLOCKING),
    ask=_list,
)
READ = Read(
    name="readNode",
    need=Need(area=("node", "read")),
    summary="Read one node",
    answer=NodeView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_read,
)
PUT = Write(
    name="reportNode",
    before_body=_may_report,
    summary="Replace what a node reported before",
    answer=NodeReportedView,
    statuses=(403,),
    body=REPORT,
    command=_put,
    render=_reported,
)
SET_STATUS = Write(
    name="setNodeStatus",
    before_body=speaks_for_nodes,
    summary="Set a node's status",
    answer=NodeReportedView,
    statuses=(404,),
    body=STATUS,
    command=_set_status,
    render=_reported,
)
HEARTBEAT = Operation(
    name="heartbeat",
    need=_is_node,
    summary="Say that a node is alive",
    answer=NodeReportedView,
    statuses=(404, 429, 503),
    reply=_heartbeat,
)
DELETE = Write(name="deleteNode", summary="Remove a node", statuses=(404,), command=_delete, render=no_body)
