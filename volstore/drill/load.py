"""The load: clients of every node that write and read continuously, and record every request."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from random import Random

from volstore.drill.exchange import Exchange, outcome_of
from volstore.drill.leaders import Leaders, rest
from volstore.drill.record import Absence, Event, Kind, Moment, Outcome, Rate, Request
from volstore.drill.scenario import LoadSettings
from volstore.drill.target import Access, TargetNode
from volstore.drill.volumes import NAMESPACE, VolumePool, prepare, value_of, volume_body

WRITES_PER_SECOND = 140.0
"""The most writes per second of all clients: the nodes store 100,000 Idempotency-Keys for ten minutes, and no more."""
REPEATED = 0.05
"""The share of acknowledged writes that are sent again under their key, as by a client that lost the answer."""
_ATTEMPTS = 3
_STALE_EVERY = 0.2


class LoadFailed(Exception):
    """The load can't run; the text says why and what would be right."""


class Load:
    """The clients of all `nodes`. `now` returns seconds since the drill began; `seed` determines all random choices.

    `note` is called with every request and event as it ends.
    """

    def __init__(
        self,
        nodes: Iterable[TargetNode],
        settings: LoadSettings,
        seed: int,
        now: Callable[[], float],
        *,
        access: Access | None = None,
        note: Callable[[Request | Event], None] = lambda _: None,
    ) -> None:
        """Raises LoadFailed for impossible settings."""
        self.settings = settings
        self.requests: list[Request] = []
        self.events: list[Event] = []
        self.absences: list[Absence] = []
        self.leader: str | None = None
        self.ended: float | None = None
        """The time when the clients were told to stop. Requests in flight were waited for."""
        self.prefix = f"drill-{secrets.token_hex(3)}"
        """Prefix of the volumes' IDs and the Idempotency-Keys; it differs in every drill, whatever the seed."""
        self._nodes = {node.name: node for node in nodes}
        self._access = access or Access()
        self._seed = seed
        self._now = now
        self._note = note
        self._numbers = count(1)
        self._clients = count(1)
        self._volumes = VolumePool(self.prefix, settings.volumes)
        self._kinds, self._weights = list(settings.mix), list(settings.mix.values())
        self._absent: dict[str, tuple[float, bool, bool]] = {}
        self._recent: dict[str, deque[tuple[float, Outcome]]] = {name: deque() for name in self._nodes}
        self._last = {True: 0.0, False: 0.0}
        self._leaders = Leaders(now, self._lead)
        self._exchange: Exchange | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        if not self._nodes or settings.clients < 1 or settings.volumes < 1 or settings.timeout <= 0:
            raise LoadFailed("a load needs at least one node, one client, one volume and a time-out")
        if not any(weight > 0 for weight in self._weights) or min(self._weights) < 0:
            raise LoadFailed("the mix of a load needs one share above 0, and none below 0")

    @property
    def pause(self) -> float:
        """Seconds between two requests of a client: as configured, or longer to stay below WRITES_PER_SECOND."""
        share = sum(self.settings.mix[kind] for kind in self._kinds if kind.writes) / sum(self._weights)
        return max(self.settings.pause, len(self._nodes) * self.settings.clients * share / WRITES_PER_SECOND)

    # Life cycle.

    async def start(self, seconds: float = 30.0) -> None:
        """Create namespace and plugin within `seconds`, and start the clients. Raises LoadFailed."""
        self._exchange = Exchange(self._access)
        why = await prepare(self._exchange, list(self._nodes.values()), seconds)
        if why:
            raise LoadFailed(f"the load can't start: {why}")
        self._last = dict.fromkeys(self._last, self._now())
        for node in self._nodes.values():
            self._begin(node)

    def _begin(self, node: TargetNode) -> None:
        assert self._exchange is not None
        watch = self._leaders.follow(node, self._exchange, self._stopping)
        self._tasks.append(asyncio.create_task(watch, name=f"watch {node.name}"))
        for _ in range(self.settings.clients):
            number = next(self._clients)
            client = self._client(node, number, Random(f"{self._seed} {number}"))
            self._tasks.append(asyncio.create_task(client, name=f"client {number} of {node.name}"))
        if self.settings.mix.get(Kind.READ_STALE):
            number = next(self._clients)
            client = self._stale_reader(node, number, Random(f"{self._seed} {number}"))
            self._tasks.append(asyncio.create_task(client, name=f"client {number} of {node.name}"))

    async def steady(self, seconds: float = 15.0) -> None:
        """Wait until, for a second, a node led and all nodes that should answer did. Raises LoadFailed."""
        end = self._now() + seconds
        since = self._now()
        while self._now() - since < 1:
            self.raise_defects()
            if self._now() > end:
                rates = ", ".join(f"{name} {rate.done:.0f}/s" for name, rate in self.rates().rates.items())
                raise LoadFailed(
                    f"the load is not steady after {seconds:g} s: {self.leader or 'no node'} leads; {rates} done"
                )
            if self.leader is None or not all(self._goes(name) for name in self._nodes if name not in self._absent):
                since = self._now()
            await asyncio.sleep(0.05)

    def _goes(self, name: str) -> bool:
        """Whether the node did most requests of the last second."""
        rate = self._rate(name)
        return rate.done > 2 * (rate.refused + rate.unknown)

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop the clients, and wait for requests in flight. With `at_once` those are cancelled and not recorded.

        May be called more than once, and without a start.
        """
        if self.ended is None:
            self.ended = self._now()
        self._stopping.set()
        if at_once:
            for task in self._tasks:
                task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for name in list(self._absent):
            self.expect_up(name)
        if self._exchange is not None:
            await self._exchange.close()
            self._exchange = None
        for result in results:
            if isinstance(result, Exception):
                raise result

    def raise_defects(self) -> None:
        """Raise the error that ended a client, if any: our own defect must not look like a silent node."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    # Expectations.

    def expect_down(self, node: str, *, restarts: bool = True, pauses: bool = False) -> None:
        """From now on `node` is broken on purpose: its clients go on, but their failures don't count.

        `restarts` False: its process survives, for example when it is cut off or `pauses`. A second call before
        `expect_up` adds to the first.
        """
        if node not in self._nodes:
            raise KeyError(f"{node} is not a node of this load")
        before = self._absent.get(node, (self._now(), False, False))
        self._absent[node] = before[0], before[1] or restarts, before[2] or pauses

    def expect_up(self, node: str) -> None:
        """The node is healthy again, and must answer from now on."""
        if node in self._absent:
            start, restarts, pauses = self._absent.pop(node)
            self.absences.append(Absence(node, start, self._now(), restarts, pauses))

    # Rates.

    def rates(self) -> Moment:
        at = self._now()
        return Moment(
            at,
            {name: self._rate(name) for name in self._nodes},
            self.leader,
            frozenset(self._absent),
            write_silence=at - self._last[True],
            read_silence=at - self._last[False],
        )

    def _rate(self, name: str) -> Rate:
        recent, since = self._recent[name], self._now() - 1
        while recent and recent[0][0] < since:
            recent.popleft()
        outcomes = [outcome for _, outcome in recent]
        return Rate(*(float(outcomes.count(outcome)) for outcome in Outcome))

    def _lead(self, event: Event) -> None:
        self.leader = event.node
        self.events.append(event)
        self._note(event)

    # Clients.

    async def _client(self, node: TargetNode, client: int, random: Random) -> None:
        while not self._stopping.is_set():
            (kind,) = random.choices(self._kinds, self._weights)
            volume = self._volumes.draw(random)
            if kind.writes:
                await self._write(node, client, kind, volume, random)
            else:
                await self._send(node, client, kind, volume)
            await rest(self.pause * (0.5 + random.random()), self._stopping)

    async def _stale_reader(self, node: TargetNode, client: int, random: Random) -> None:
        """Read stale only: on a node that is cut off other clients just wait, but the claimed age of stale reads
        matters."""
        while not self._stopping.is_set():
            await self._send(node, client, Kind.READ_STALE, self._volumes.draw(random))
            await rest(_STALE_EVERY, self._stopping)

    async def _write(self, node: TargetNode, client: int, kind: Kind, volume: str, random: Random) -> None:
        """Write until the outcome is known or the attempts are used up.

        Retries go to other nodes, under the same key.
        """
        request = first = await self._send(node, client, kind, volume)
        for _ in range(_ATTEMPTS - 1):
            if request.outcome is not Outcome.UNKNOWN or self._stopping.is_set():
                break
            request = await self._send(self._other(node, random), client, kind, volume, first.number)
        if request.outcome is Outcome.DONE and random.random() < REPEATED:
            await self._send(self._other(node, random), client, kind, volume, first.number)

    def _other(self, node: TargetNode, random: Random) -> TargetNode:
        """Any other node that should answer; the same node if there is none."""
        others = [one for name, one in self._nodes.items() if name not in self._absent and name != node.name]
        return random.choice(others) if others else node

    async def _send(
        self, node: TargetNode, client: int, kind: Kind, volume: str, repeats: int | None = None
    ) -> Request:
        number = next(self._numbers)
        first = repeats if repeats is not None else number
        parameters = {"namespace": NAMESPACE}
        value: str | None = None
        key, method, body = "", "GET", None
        if kind.writes:
            key, method = f"{self.prefix}-{first}", "DELETE"
        if kind is Kind.REGISTER:
            value, method = f"v{first}", "PUT"
            body = volume_body(volume, value)
        elif kind is Kind.READ_STALE:
            parameters["stale"] = "true"
        elif kind is Kind.READ_CONSISTENT:
            parameters["consistent"] = "true"
        assert self._exchange is not None
        start = self._now()
        answer = await self._exchange.ask(
            method,
            node.url,
            f"/v1/volume/csi/{volume}",
            parameters,
            body,
            key=key,
            within=self.settings.timeout,
        )
        end = self._now()
        outcome, error = outcome_of(kind, answer), ""
        if outcome is not Outcome.DONE:
            error = answer.text[:200]
        elif not kind.writes and answer.status == 200:
            value = value_of(answer)
        request = Request(
            number=number,
            client=client,
            node=node.name,
            kind=kind,
            volume=volume,
            start=start,
            end=end,
            outcome=outcome,
            status=answer.status,
            value=value,
            index=answer.index,
            staleness=answer.staleness if kind is Kind.READ_STALE else None,
            error=error,
            repeats=repeats,
        )
        self.requests.append(request)
        self._recent[node.name].append((end, outcome))
        if outcome is Outcome.DONE:
            self._last[kind.writes] = end
        self._note(request)
        return request
