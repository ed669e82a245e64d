"""Who has a certificate and is no member: says what may harm, under a name of its own, a member's or a former one's.

To nodes that know their members it also stands for election, and leads with a log of its own: what they must hear of
a member that they don't know yet (Raft dissertation §4.1), and of nobody else. A node that waits to be added knows no
members to ask, and hears whoever comes: it is told none of that here.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from cluster.net.transport import Identity, Transport
from cluster.node import sessions
from tests.simulation.loop import NodeLoop
from tests.simulation.network import Host

if TYPE_CHECKING:
    from cluster.node.node import Node
    from cluster.raft.messages import Frame
    from tests.simulation.faults import Fault
    from tests.simulation.server import Server
    from tests.simulation.world import World

SAYS_EVERY = 0.05


def words(name: str, term: int) -> tuple[Frame, ...]:
    """What only a member may say."""
    session = b"strange" + bytes(9)
    return (
        ["prop", [sessions.opening(name, session, b"")]],
        ["prop", [sessions.proposal(session, 1, 1, b"a stranger's")]],
        ["ask", 1, b"question"],
        ["read?", 1],
        ["read", 1, 0],
        ["told", 1, b"answer"],
        ["no", [[session, 1]], "because"],
        ["ack", term + 9, 1, True, 10**6],
        ["vote", term + 9, False, False],
        ["vote", term, True, False],
        ["vote", term + 1, True, True],
        ["now", term],
        ["snapack", term, 1, 1, True],
        ["gone", term + 10**6, 10**6],
    )


def _knows_disks(server: Server) -> bool:
    return server.node is not None and _knows_members(server.node) and server.node.engine.configuration.index > 0


def _knows_members(node: Node) -> bool:
    return "engine" in node.__dict__ and bool(node.engine.configuration.members)


def claims(term: int, disk: bytes) -> tuple[Frame, ...]:
    """What is heard of a leader that a node doesn't know yet."""
    return (
        ["vote?", term + 9, 10**6, term + 9, True, False],
        ["vote?", term + 9, 10**6, term + 9, False, True],
        ["app", term + 9, 1, 0, 0, 10**6, [[term + 9, b"\x01"]], None],
        ["commit", term + 9, 10**6],
        ["snap", term + 9, 10**6, term + 9, 1, 0, b"x", bytes(32), b"", b""],
        ["known", 10**6, "x", disk],
    )


async def stranger(world: World, fault: Fault) -> None:
    """Calls everybody, for as long as the fault lasts."""
    draw = Random(fault.amount)
    number = len(world.strangers)
    host_name = f"x{number}"
    former = [server for server in world.servers.values() if server.state == "removed" and server.node is not None]
    name, disk = host_name, b"strange" + number.to_bytes(9)
    if fault.amount < 0.4 and all(_knows_disks(server) for server in world.servers.values()):
        # Before a node knows the members' disks, a certificate of that name is all that proves one.
        name = draw.choice(list(world.servers))
    elif fault.amount < 0.6 and former:
        gone = draw.choice(former)
        if gone.node is not None and "incarnation" in gone.node.__dict__:
            name, disk = gone.name, gone.node.incarnation
    world.strangers.add(disk)

    def broken(error: BaseException) -> None:
        world.root.call_soon(world.broken, error)

    loop = NodeLoop(world.scheduler, failed=broken)
    world.guests.append(loop)
    host = Host(world.wire, host_name, loop)
    transport = Transport(
        network=host,
        random=Random(draw.getrandbits(64)),
        me=Identity(name, disk, world.cluster, {"configuration": "999999", "raft": f"{host_name}:1"}),
        bind=f"{host_name}:1",
        log=world.trace.logger(host_name),
        admit=lambda _name, _incarnation, _meta: None,
        on_message=lambda _peer, _frame: None,
        on_peer=lambda _peer, _connected: None,
        on_failure=broken,
    )

    async def live() -> None:
        await transport.start()
        transport.set_peers({s.name: s.address for s in world.servers.values() if s.name != name})
        while not world.calm:
            for peer in sorted(transport.connected()):
                node = world.servers[peer].node
                term = node.engine.term if node is not None and "engine" in node.__dict__ else 1
                heard = claims(term, disk) if node is not None and _knows_members(node) and name == host_name else ()
                for frame in (*words(name, term), *heard):
                    transport.send(peer, frame)
            await asyncio.sleep(SAYS_EVERY)

    loop.create_task(live())
    for _ in range(4 + int(4 * fault.duration)):
        if not world.calm:
            await asyncio.sleep(0.25)
    loop.dead = True
    host.die(silently=False)
    loop.kill()
