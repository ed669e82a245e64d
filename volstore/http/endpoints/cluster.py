"""What a node says of itself and of its cluster: leader, peers, members, health, regions, namespaces."""

from __future__ import annotations

from typing import Any

from volstore.core.errors import ApiError, NoLeader
from volstore.http.endpoints.views import HealthView, MembersView, MemberView, encode
from volstore.http.json.replies import Json, Reply
from volstore.http.registry import ClusterView, ServerView
from volstore.http.server.call import Call
from volstore.http.server.declaration import Local
from volstore.http.server.rights import Need, nothing


def _leader(call: Call) -> Reply:
    return Reply(json=Json(encode(_led(call).raft_address)))


def _peers(call: Call) -> Reply:
    _led(call)
    voters = [server.raft_address for server in _view(call).servers if server.voter]
    return Reply(json=Json(encode(sorted(voters))))


def _led(call: Call) -> ServerView:
    """The leader; without one the answer is no, at once: who asks for the status wants to know now."""
    leader = _view(call).leader
    if leader is None:
        raise NoLeader
    return leader


def _health(call: Call) -> Reply:
    """Ill health is told in text, as the reference does, with the same JSON in it."""
    kind = call.query.text("type") or "server"
    if kind == "client":
        return Reply(status=503, text='{"client":{"ok":false,"message":"client not enabled"}}')
    if kind != "server":
        raise ApiError(400, "Invalid type: expected server or client")
    if _view(call).leader is None:
        return Reply(status=503, text='{"server":{"ok":false,"message":"No cluster leader"}}')
    return Reply(json=Json(b'{"server":{"message":"ok","ok":true}}'))


def _members(call: Call) -> Reply:
    view = _view(call)
    return Reply(
        json=Json(
            encode(
                MembersView(
                    members=[_member(view, server) for server in sorted(view.servers, key=lambda server: server.name)],
                    server_dc=view.datacenter,
                    server_name=view.name,
                    server_region=view.region,
                )
            )
        )
    )


def _member(view: ClusterView, server: ServerView) -> MemberView:
    host, _, port = server.raft_address.rpartition(":")
    http_host, _, http_port = server.http_address.rpartition(":")
    tags = {
        "build": server.version,
        "dc": view.datacenter,
        "expect": str(len(view.servers)),
        "http_addr": http_host,
        "http_port": http_port,
        "id": server.incarnation,
        "mvn": "1",
        "port": port,
        "raft_vsn": "3",
        "region": view.region,
        "role": "nomad",
        "rpc_addr": host,
        "vsn": "1",
    }
    return MemberView(
        addr=host,
        delegate_cur=4,
        delegate_max=5,
        delegate_min=2,
        name=f"{server.name}.{view.region}",
        port=int(port) if port.isdigit() else 0,
        protocol_cur=2,
        protocol_max=5,
        protocol_min=1,
        status=server.status,
        tags=tags,
    )


def _self(call: Call) -> Reply:
    view, settings = _view(call), call.service.settings
    member = next((_member(view, server) for server in view.servers if server.name == view.name), None)
    body: dict[str, Any] = {
        "config": {
            "Datacenter": view.datacenter,
            "NodeName": view.name,
            "Region": view.region,
            "Server": {"Enabled": True},
            "Version": {"Revision": "", "Version": settings.version, "VersionMetadata": "", "VersionPrerelease": ""},
        },
        "member": member,
        "stats": view.stats,
    }
    return Reply(json=Json(encode(body)))


def _regions(call: Call) -> Reply:
    return Reply(json=Json(encode([call.service.settings.region])))


def _view(call: Call) -> ClusterView:
    return call.service.registry.cluster()


LEADER = Local(
    name="leader", need=nothing, summary="Raft address of the leader", answer=str, statuses=(503,), reply=_leader
)
PEERS = Local(
    name="peers", need=nothing, summary="Raft addresses of the voters", answer=list[str], statuses=(503,), reply=_peers
)
HEALTH = Local(
    name="health",
    need=nothing,
    summary="Whether this node can serve",
    answer=HealthView,
    parameters=("type",),
    statuses=(503,),
    reply=_health,
)
MEMBERS = Local(
    name="members",
    need=Need(area=("node", "read")),
    summary="The cluster's servers",
    answer=MembersView,
    reply=_members,
)
SELF = Local(name="self", need=Need(area=("agent", "read")), summary="This server", answer=dict[str, Any], reply=_self)
REGIONS = Local(name="regions", need=nothing, summary="The one region", answer=list[str], reply=_regions)
