"""What an operator asks of the cluster, and has it do: its configuration, its health, who leads, who belongs to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from volstore.backup.sealed import BackupKeys
from volstore.core.errors import ApiError
from volstore.http.cluster_admin import ClusterAdmin, NewPeer, NodeView, PeerView
from volstore.http.endpoints.backups import backup_endpoints
from volstore.http.endpoints.views import encode
from volstore.http.health import Report, judge
from volstore.http.json.reader import InvalidBody, read_json
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import Integer, Object, Text
from volstore.http.registry import ServerView
from volstore.http.server.call import Call
from volstore.http.server.declaration import Local, Operation
from volstore.http.server.members import MemberUnreachable
from volstore.http.server.rights import Need, management, nothing
from volstore.http.server.router import Route
from volstore.quorum import majority

CHANGE_DEADLINE = 30.0
"""Seconds that a change of the members may take; a new one that needs longer stays a learner, and goes on."""
_ASK_SECONDS = 2.0
_LARGEST_LAG = 250
_NAME = Text(longest=64, one_line=True)
_NEW_PEER: Object[dict[str, Any]] = Object(
    dict,
    {
        "Name": ("name", _NAME),
        "Address": ("address", Text(longest=256, one_line=True)),
        "Incarnation": ("incarnation", Text(longest=64, one_line=True)),
        "Level": ("level", Integer(1, 255)),
    },
    passed=None,  # a newer member may say more of itself
)


def operator_routes(admin: ClusterAdmin, backup_keys: BackupKeys | None = None) -> tuple[Route, ...]:
    """The routes of a node that is operated; `backup_keys` seal and open its backups."""
    on = _On(admin)
    peer = {"DELETE": on.remove_peer, "PUT": on.add_peer, "POST": on.add_peer}
    save, restore = backup_endpoints(admin, backup_keys or BackupKeys())
    return (
        Route("/v1/operator/raft/configuration", {"GET": on.configuration}),
        Route("/v1/operator/raft/peer", peer),
        Route("/v1/operator/raft/transfer-leadership", {"PUT": on.transfer, "POST": on.transfer}),
        Route("/v1/operator/autopilot/configuration", {"GET": on.autopilot}),
        Route("/v1/operator/autopilot/health", {"GET": on.autopilot_health}),
        Route("/v1/operator/node", {"GET": on.node}),
        Route("/v1/operator/health", {"GET": on.health}),
        Route("/v1/operator/snapshot", {"GET": save, "PUT": restore, "POST": restore}),
        Route("/v1/agent/health/live", {"GET": on.live}),
        Route("/v1/agent/health/ready", {"GET": on.ready}),
        Route("/v1/agent/health/leader", {"GET": on.leads}),
    )


class _On:
    """The endpoints over one node's admin."""

    def __init__(self, admin: ClusterAdmin) -> None:
        self._admin = admin
        self.configuration = Local(
            name="raftConfiguration",
            need=management,
            summary="The members",
            answer=dict[str, Any],
            reply=self._configuration,
        )
        self.remove_peer = _change(
            "removeRaftPeer", "Remove a member by its ID, name or address", self._remove_peer, ("id", "address")
        )
        self.add_peer = Operation(
            name="addRaftPeer",
            need=management,
            summary="Add a member that waits for it, and give it its vote once it caught up",
            body=_NEW_PEER,
            statuses=(409, 503),
            reply=self._add_peer,
            on_leader=True,
        )
        self.transfer = _change(
            "transferLeadership", "Hand leadership to a member", self._transfer, ("id", "address"), dict[str, Any]
        )
        self.autopilot = Local(
            name="autopilotConfiguration",
            need=Need(area=("operator", "read")),
            summary="What Nomad's autopilot would do; nothing of it is done here",
            answer=dict[str, Any],
            reply=_autopilot,
        )
        self.autopilot_health = Operation(
            name="autopilotHealth",
            need=Need(area=("operator", "read")),
            summary="The members' health as the leader sees it (429 when it is bad)",
            answer=dict[str, Any],
            statuses=(429, 503),
            reply=self._autopilot_health,
            on_leader=True,
        )
        self.node = Local(
            name="operatorNode",
            need=Need(area=("operator", "read")),
            summary="This node's own figures",
            answer=dict[str, Any],
            reply=self._node,
        )
        self.health = Operation(
            name="operatorHealth",
            need=Need(area=("operator", "read")),
            summary="What every node says of itself, and in words what is wrong",
            answer=dict[str, Any],
            reply=self._health,
        )
        self.live = _probe("live", "Whether the process acts, and needn't be replaced", lambda: admin.failure)
        self.ready = _probe("ready", "Whether requests should be sent here", self._unready)
        self.leads = _probe("leads", "Whether this node leads", self._not_leading)

    # What is there.

    def _configuration(self, call: Call) -> Reply:
        node = self._admin.node()
        servers = [
            {
                "Address": peer.server.raft_address,
                "ID": peer.server.incarnation or peer.server.name,
                "Leader": peer.server.leader,
                "Name": peer.server.name,
                "Node": f"{peer.server.name}.{call.service.settings.region}",
                "RaftProtocol": "3",
                "Voter": peer.server.voter,
            }
            for peer in node.peers
        ]
        return _json({"ClusterID": node.cluster_id, "Index": 0, "Servers": servers})

    def _node(self, call: Call) -> Reply:
        return _json(msgspec.to_builtins(self._admin.node()))

    def _unready(self) -> str:
        node = self._admin.node()
        if node.fault:
            return node.fault
        if node.role in ("learner", "removed"):
            return f"this node has no vote: it is {node.role}"
        return "" if node.leader else "No cluster leader"

    def _not_leading(self) -> str:
        node = self._admin.node()
        if node.fault:
            return node.fault
        return "" if node.role == "leader" else f"this node doesn't lead; {node.leader or 'no node'} does"

    # What is changed.

    async def _remove_peer(self, call: Call) -> Reply:
        server = self._named(call)
        if server is None:
            raise ApiError(
                400, "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"
            )
        await self._admin.remove_peer(server.name, _deadline())
        return Reply()

    async def _add_peer(self, call: Call) -> Reply:
        given = read_json(call.body, _NEW_PEER)
        missing = [name for name, (key, _) in _NEW_PEER.members.items() if not given.get(key) and name != "Level"]
        if missing:
            raise InvalidBody(f"{' and '.join(missing)} must be given")
        try:
            incarnation = bytes.fromhex(given["incarnation"])
        except ValueError:
            raise InvalidBody("Incarnation: expected hexadecimal digits") from None
        peer = NewPeer(given["name"], given["address"], incarnation, given.get("level") or 1)
        await self._admin.add_peer(peer, _deadline())
        return Reply()

    async def _transfer(self, call: Call) -> Reply:
        server = self._named(call)
        name = await self._admin.transfer_leadership(server.name if server else None, _deadline())
        return _json({"Leader": name, "Success": True})

    def _named(self, call: Call) -> ServerView | None:
        """The member that the query names, None if it names none. Raises ApiError 404."""
        id, address = call.query.text("id"), call.query.text("address")
        if not id and not address:
            return None
        for peer in self._admin.node().peers:
            server = peer.server
            if (id and id in (server.incarnation, server.name)) or (address and address == server.raft_address):
                return server
        what = f'id "{id}"' if id else f'address "{address}"'
        raise ApiError(404, f"{what} was not found in the Raft configuration")

    # How it is.

    async def _autopilot_health(self, call: Call) -> Reply:
        node = self._admin.node()
        servers = [_server_health(call, node, peer) for peer in node.peers]
        voters = [one for one in servers if one["Voter"]]
        tolerance = sum(one["Healthy"] for one in voters) - majority(len(voters))
        healthy = all(one["Healthy"] for one in servers)
        body = {"FailureTolerance": max(tolerance, 0), "Healthy": healthy, "Servers": servers}
        # Ill health is told in text with the JSON in it, as agent/health does: Go's clients read it all the same.
        return _json(body) if healthy else Reply(status=429, text=encode(body).decode())

    async def _health(self, call: Call) -> Reply:
        asked = self._admin.node()
        reports = await asyncio.gather(*(self._ask(call, asked, peer.server) for peer in asked.peers))
        found = judge(asked, reports)
        nodes = [{"Name": report.name, "Node": report.node, "Why": report.why} for report in reports]
        return _json(
            msgspec.to_builtins(
                {
                    "FailureTolerance": found.tolerance,
                    "Healthy": found.healthy,
                    "Nodes": nodes,
                    "Problems": found.problems,
                }
            )
        )

    async def _ask(self, call: Call, asked: NodeView, server: ServerView) -> Report:
        if server.name == asked.name:
            return Report(server.name, asked)
        if not server.http_address:
            return Report(server.name, None, f"it can't be reached at {server.raft_address}")
        members = call.service.settings.members
        try:
            answer = await members.ask(
                server.http_address, "/v1/operator/node", headers=call.origin.headers, seconds=_ASK_SECONDS
            )
            if answer.status != 200:
                return Report(server.name, None, f"it answered {answer.status}")
            return Report(server.name, msgspec.json.decode(answer.body, type=NodeView))
        except (MemberUnreachable, msgspec.MsgspecError) as error:
            return Report(server.name, None, f"{server.http_address}: {error}")


def _change(
    name: str,
    summary: str,
    reply: Callable[[Call], Awaitable[Reply]],
    parameters: tuple[str, ...],
    answer: Any = None,
) -> Operation:
    return Operation(
        name=name,
        need=management,
        summary=summary,
        parameters=parameters,
        answer=answer,
        statuses=(404, 409, 503),
        reply=reply,
        on_leader=True,
    )


def _probe(name: str, summary: str, why_not: Callable[[], str]) -> Local:
    """200 with an empty body, or 503 with the reason: load balancers look at the status, people at the text."""

    def reply(call: Call) -> Reply:
        reason = why_not()
        return Reply(status=503, text=reason) if reason else Reply()

    return Local(name=name, need=nothing, summary=summary, statuses=(503,), reply=reply)


def _deadline() -> float:
    return asyncio.get_running_loop().time() + CHANGE_DEADLINE


def _json(body: Any) -> Reply:
    return Reply(json=Json(encode(body)))


def _server_health(call: Call, node: NodeView, peer: PeerView) -> dict[str, Any]:
    server = peer.server
    contact = peer.last_contact or 0.0
    return {
        "Address": server.raft_address,
        "Healthy": server.status == "alive" and (peer.lag or 0) <= _LARGEST_LAG,
        "ID": server.incarnation or server.name,
        "LastContact": f"{contact * 1000:.3f}ms" if contact else "0s",
        "LastIndex": peer.match_index or 0,
        "LastTerm": node.term,
        "Leader": server.leader,
        "Name": f"{server.name}.{call.service.settings.region}",
        "SerfStatus": server.status,
        "Version": server.version,
        "Voter": server.voter,
    }


def _autopilot(call: Call) -> Reply:
    """What a Nomad server answers that nobody configured: there is no autopilot here, and nothing to configure."""
    return _json(
        {
            "CleanupDeadServers": True,
            "CreateIndex": 1,
            "DisableUpgradeMigration": False,
            "EnableCustomUpgrades": False,
            "EnableRedundancyZones": False,
            "LastContactThreshold": "200ms",
            "MaxTrailingLogs": _LARGEST_LAG,
            "MinQuorum": 0,
            "ModifyIndex": 1,
            "ServerStabilizationTime": "10s",
        }
    )
