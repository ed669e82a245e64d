"""Clients that follow something with blocking queries, in every mode and from node to node, and hang up at times."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from cluster.api import LogError, NoLeader
from cluster.log import ReplicatedLog
from tests.simulation.front import SETTINGS, Asked, Front, Waiting
from tests.simulation.server import Lost, Server
from volstore.core.errors import ApiError
from volstore.http.endpoints import allocations, nodes, plugins, volumes
from volstore.http.json.parameters import WAIT_JITTER, Query
from volstore.http.json.replies import Reply
from volstore.http.server.deadlines import BUCKETS_PER_SECOND
from volstore.http.server.declaration import Read

if TYPE_CHECKING:
    from tests.simulation.workload import Workload
    from tests.simulation.world import World

MODES = ("", "consistent", "stale", "stale", "max_stale=1s")
_GRACE = 2.0
_PROMPT = 0.05
"""Seconds that an answer takes when nothing holds it up."""


class Watchers:
    """`floor` is the highest index that any linearizable answer, or acknowledgement, has carried to anybody."""

    def __init__(self, world: World, workload: Workload, random: Random) -> None:
        self.floor = 0
        self.answered = 0
        self.woken = 0
        self.hung_up = 0
        self._world = world
        self._workload = workload
        self._random = random

    def start(self) -> None:
        for _ in range(max(1, self._world.settings.clients // 2)):
            random = Random(self._random.getrandbits(64))
            # Bound by a default, which mypy gives no type.
            self._world.spawn(lambda random=random: self._client(random))  # type: ignore[misc]

    async def _client(self, random: Random) -> None:
        world = self._world
        await asyncio.shield(self._workload.prepared)
        while not self._workload.stopping:
            await asyncio.sleep(4 * world.settings.think * random.random())
            read, ids, what = self._draw(random)
            server, mode = random.choice(list(world.servers.values())), random.choice(MODES)
            index, had = 0, None
            for _ in range(random.randrange(1, 8)):
                wait = random.choice((0.2, 0.5, 1.0, 3.0))
                query = "&".join(part for part in (what, mode, f"index={index}&wait={int(wait * 1000)}ms") if part)
                patience = wait * (1 + WAIT_JITTER) + 2 * SETTINGS.deadline
                hangs_up = wait * random.random() if random.random() < 0.25 else None
                reply = await self._ask(server, Asked(read, ids, query, had), hangs_up, patience)
                if reply is None or self._workload.stopping:
                    break
                index, had = int(reply.headers["X-Nomad-Index"]), _shown(reply)
                if random.random() < 0.2:
                    server = random.choice(list(world.servers.values()))

    def _draw(self, random: Random) -> tuple[Read, tuple[str, ...], str]:
        """What is followed: things that the other clients change, or that aren't there."""
        key = self._workload.present_key(random)
        node, allocation = f"node-{random.randrange(6)}", f"job-{random.randrange(3)}-{random.randrange(2)}"
        shared = f"shared-{random.randrange(1, 4)}"
        return random.choice(
            (
                (volumes.READ, (key,), ""),
                (volumes.READ, (shared,), ""),
                (volumes.LIST, (), "type=csi"),
                (volumes.LIST, (), f"type=csi&prefix={key}"),
                (volumes.LIST, (), "type=csi&plugin_id=p"),
                (volumes.LIST, (), f"type=csi&node_id={node}&namespace=*"),
                (plugins.LIST, (), "type=csi"),
                (plugins.READ, ("p",), ""),
                (nodes.LIST, (), f"prefix={node[: random.choice((5, 6))]}"),
                (nodes.READ, (node,), ""),
                (allocations.LIST, (), f"prefix={allocation[:5]}"),
                (allocations.READ, (allocation,), ""),
            )
        )

    async def _ask(self, server: Server, asked: Asked, hangs_up: float | None, patience: float) -> Reply | None:
        """The answer; None when there is none, or none was waited for."""
        world, floor, front = self._world, self.floor, server.front
        loop, pauses, paused = server.loop, server.pauses, server.paused

        async def work(_log: ReplicatedLog) -> Reply:
            assert front is not None
            assert loop is not None
            began, pauses = loop.time(), server.pauses
            reply, waiting = await front.get(asked)
            self._judge(server, front, reply, waiting, floor)
            if server.pauses == pauses:
                self._judge_time(server, front, waiting, loop.time() - began)
            return reply

        try:
            async with asyncio.timeout(patience + _GRACE if hangs_up is None else hangs_up):
                reply = await server.ask(work)
        except (Lost, LogError, NoLeader, ApiError):
            return None
        except TimeoutError:
            if hangs_up is not None:
                self.hung_up += 1
                if front is not None:
                    front.hung_up(asked)
            elif loop is server.loop and server.up and server.pauses == pauses and not paused:
                world.violated("deadline", f"{server.name} has no answer to {asked.query} after {patience + _GRACE} s")
            return None
        self.answered += 1
        return reply

    def _judge(self, server: Server, front: Front, reply: Reply, waiting: Waiting, floor: int) -> None:
        """An answer is the state's, and no index goes back: on one process, nor anywhere where it is linearizable."""
        asked, index = waiting.asked, int(reply.headers["X-Nomad-Index"])
        if _shown(reply) != front.truth(asked):
            self._violated("answers are the state's", server, waiting, f"{_shown(reply)!r} of {front.truth(asked)!r}")
        if index < front.answered:
            self._violated("answers go on", server, waiting, f"index {index} after {front.answered}")
        front.answered = max(front.answered, index)
        query = Query(asked.query)
        claimed, known = (
            int(reply.headers["X-Nomad-LastContact"]) / 1000,
            reply.headers["X-Nomad-KnownLeader"] == "true",
        )
        stale = query.stale or (query.max_stale is not None and claimed > 0)
        if query.max_stale is not None and (claimed > query.max_stale or not known):
            self._violated("answers go on", server, waiting, f"{claimed} s old, known leader {known}")
        if not stale:
            if index < floor:
                self._violated("answers go on", server, waiting, f"index {index} after {floor} was answered")
            self.floor = max(self.floor, index)
        elif known and server.node is not None:
            self._world.observer.ages.check(server, server.node, claimed)

    def _judge_time(self, server: Server, front: Front, waiting: Waiting, took: float) -> None:
        """Who is answered early has something new to see; nobody waits for longer than it said."""
        query, changed = Query(waiting.asked.query), waiting.moved_at is not None
        if not query.index:
            return
        self.woken += changed
        if took < query.wait and not changed and not front.watch.closed:
            self._violated("woken by changes alone", server, waiting, f"answered after {took:.3f} s")
        looks = 0.0 if query.stale else 2 * SETTINGS.deadline
        longest = query.wait * (1 + WAIT_JITTER) + 1 / BUCKETS_PER_SECOND + looks + _PROMPT
        if took > longest:
            self._violated("a wait ends", server, waiting, f"answered after {took:.3f} s, {longest:.3f} s at most")

    def _violated(self, invariant: str, server: Server, waiting: Waiting, text: str) -> None:
        asked = waiting.asked
        self._world.violated(invariant, f"{server.name}: {text} ({asked.read.name} {asked.ids} {asked.query})")


def _shown(reply: Reply) -> bytes | None:
    """The answer as bytes, None for "not found"."""
    return None if reply.status == 404 or reply.json is None else reply.json.raw
