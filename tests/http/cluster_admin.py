"""The operations of one node that leads alone, in this process: what is asked of it is noted."""

from __future__ import annotations

from dataclasses import replace

from tests.http.registry import SERVER
from volstore.http.cluster_admin import LeadershipMoved, NewPeer, NodeView, PeerView

NODE = NodeView(
    name="server1",
    cluster_id="c0ffee",
    version="0.1.0",
    role="leader",
    term=2,
    leader="server1",
    first_index=1,
    last_index=9,
    commit_index=9,
    applied_index=9,
    snapshot_index=0,
    fsm_index=7,
    digest="ab" * 16,
    last_contact=0.0,
    last_sync_seconds=0.001,
    disk_free_bytes=80 << 30,
    fault="",
    peers=(PeerView(SERVER, 9, 0, 0.0),),
)


class OneNode:
    """`done` lists the changes that were asked for. `moves`: leadership is elsewhere when it is asked for one."""

    def __init__(self, node: NodeView = NODE) -> None:
        self.view = node
        self.moves = False
        self.failure = ""
        self.done: list[tuple[str, object]] = []

    def node(self) -> NodeView:
        return self.view

    async def transfer_leadership(self, to: str | None, deadline: float) -> str:
        self._do("transfer", to)
        return to or self.view.name

    async def add_peer(self, peer: NewPeer, deadline: float) -> None:
        self._do("add", peer)

    async def remove_peer(self, name: str, deadline: float) -> None:
        self._do("remove", name)

    def _do(self, what: str, argument: object) -> None:
        if self.moves:
            raise LeadershipMoved
        self.done.append((what, argument))


ONE_NODE = OneNode()


def cut_off(node: NodeView = NODE) -> NodeView:
    """As `node` sees itself without a leader."""
    alone = tuple(replace(peer, server=replace(peer.server, leader=False)) for peer in node.peers)
    return replace(node, role="candidate", leader="", peers=alone)
