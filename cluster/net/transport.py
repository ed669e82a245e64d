"""Carries frames between the members of one cluster: dials each peer, knows who is there, drops rather than blocks.

Each member dials each peer, sends only on the connection that it dialled and receives on those that it accepted: two
connections a pair, no tie to break, one order per direction. A peer is *connected* while both are alive and belong to
one run of its process. Both sides of each connection send keep-alives, so that each notices when the other can't be
heard; its closing the connection tells the other side, or the other side's own silence does. A connection that is
lost loses what was queued: Raft repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.net import handshake
from cluster.net.accept import Reception
from cluster.net.dial import Dialler
from cluster.net.frames import Frame, FrameError, encode
from cluster.net.greeting import Admit
from cluster.net.handshake import Card, Identity
from cluster.net.links import Link, OutgoingLink, TransportLimits
from cluster.net.pairs import Pairs
from cluster.net.rate_limit import Logger, RateLimitedLog
from cluster.ports import Listener, Network, Random, Stream

__all__ = ["Frame", "FrameError", "Identity", "PeerInfo", "Transport", "TransportLimits"]


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a connected peer said of itself in its handshake."""

    incarnation: bytes
    meta: Mapping[str, str]


class Transport:
    """One member's connections to all its peers. All methods and callbacks belong to one event loop."""

    def __init__(
        self,
        *,
        network: Network,
        random: Random,
        me: Identity,
        bind: str,
        log: Logger,
        admit: Admit,
        on_message: Callable[[str, Frame], None],
        on_peer: Callable[[str, bool], None],
        on_failure: Callable[[BaseException], None],
        on_refused: Callable[[str, str, Identity | None], None] | None = None,
        limits: TransportLimits | None = None,
    ) -> None:
        """`admit(name, incarnation, meta)` says why one isn't let in, or None; it is asked of both who dials us and
        whom we dialled. `on_message(peer, frame)`: in order per peer, also while the other direction isn't up yet.
        `on_peer(peer, connected)`: also False and True in a row when a connection was replaced. `on_refused(peer,
        reason, who)`: it refused our dial, after it had said who it is. Callbacks are synchronous, and may call any
        method but `stop`.
        `on_failure(exception)`: a callback raised or a task of ours died. That is a defect: from then on no other
        callback is called, and the node must end.

        `random` makes the nonces too: `random.SystemRandom` in earnest. Raises ValueError for an identity that no
        handshake could carry, and for a queue too small for a frame.
        """
        self._limits = limits or TransportLimits()
        if self._limits.queue_bytes < self._limits.frame_bytes + 4:
            raise ValueError("queue_bytes must hold a frame of frame_bytes and its length: or it could never be sent")
        handshake.check_identity(me)
        self._frames = self._limits.frames()
        self._network = network
        self._random = random
        self._me = Card(me, random.randbytes(handshake.RUN_BYTES))
        self._bind = bind
        self._log = log
        self._limited_log = RateLimitedLog(log)
        self._ask = admit
        self._on_message = on_message
        self._on_peer = on_peer
        self._on_failure = on_failure
        self._on_refused = on_refused
        self._reception = Reception(self._random, self._me, self._limits, self._limited_log, self._admit)
        self._pairs = Pairs(self._limited_log, lambda name, connected: self._call(self._on_peer, name, connected))
        self._addresses: dict[str, str] = {}
        self._diallers: dict[str, tuple[Dialler, asyncio.Task[None]]] = {}
        # Kept in order, so that they end in the same order in every run of a simulation.
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._failed = False
        self._encoded: tuple[Frame, bytes] = ([], b"")

    async def start(self) -> str:
        """Listen, and dial the peers set so far; the bound "HOST:PORT". OSError, naming the address, when it can't."""
        self._loop = asyncio.get_running_loop()
        self._listener = await self._network.listen(self._bind, self._serve)
        self._timer = self._loop.call_later(self._limits.keep_alive, self._tick)
        for name in self._addresses:
            self._start_dialling(name)
        return self._listener.address()

    async def stop(self) -> None:
        """Close everything; no callback is called from now on, and no task or socket is left afterwards."""
        self._stopping = self._pairs.closing = True
        if self._timer is not None:
            self._timer.cancel()
        listener, self._listener = self._listener, None
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if listener is not None:
            await listener.close()

    def set_peers(self, peers: Mapping[str, str]) -> None:
        """The other members, name → "HOST:PORT": new ones are dialled, gone ones dropped, moved ones redialled.

        ValueError when this member is among them.
        """
        if self._me.identity.name in peers:
            raise ValueError(f"{self._me.identity.name!r} is this member: it can't be its own peer")
        before, self._addresses = self._addresses, dict(peers)
        for name, address in before.items():
            if peers.get(name) == address:
                continue
            if name in self._diallers:
                self._diallers.pop(name)[1].cancel()
            if name in peers and (link := self._pairs.dialled(name)) is not None:
                self._pairs.lose(name, link, "its address changed")
        self._pairs.set_peers(self._addresses.keys())
        for name in list(self._addresses):
            self._start_dialling(name)

    def keep_only(self, peer: str, incarnation: bytes) -> None:
        """End this name's connections that came from another disk than that of `incarnation`."""
        self._pairs.keep_only(peer, incarnation)

    def send(self, peer: str, frame: Frame, *, at_once: bool = False) -> bool:
        """Queue `frame` ([type: str or int, …]). False: not connected, or its queue is full; it was dropped.

        With `at_once` it leaves before this returns, where nothing is before it: for what somebody waits for and
        comes alone. One queue per peer, in order. A large thing (a snapshot) is to be cut in pieces of some 100 KiB,
        one under way at a time: so a heartbeat between two of them leaves within milliseconds.
        Raises FrameError for a frame that the peer would refuse.
        """
        link = self._pairs.outgoing(peer)
        if link is not None and link.end is None:
            # What goes to several members, one after the other, is encoded once.
            if frame is not self._encoded[0]:
                self._encoded = (frame, encode(frame, self._frames))
            if link.put(self._encoded[1], at_once=at_once):
                return True
            self._limited_log.warning(
                self._loop.time(), peer, "frame_dropped", peer=peer, reason="its queue is full", queued=link.queued
            )
        return False

    def connected(self) -> frozenset[str]:
        """Peers with both directions alive."""
        return self._pairs.connected()

    def peer_info(self, peer: str) -> PeerInfo | None:
        """What `peer` said of itself; None unless connected."""
        who = self._pairs.identity(peer)
        return PeerInfo(who.incarnation, who.meta) if who is not None else None

    def last_heard(self, peer: str) -> float | None:
        """Loop time of the last bytes read from `peer`, None if never.

        For people. It proves no leadership: what was read now may have been sent long ago.
        """
        return self._pairs.last_heard(peer)

    # Connections that we dial, and that we accept.

    def _start_dialling(self, name: str) -> None:
        if self._listener is None or self._stopping or name in self._diallers:
            return
        dialler = Dialler(
            name,
            self._addresses[name],
            network=self._network,
            random=self._random,
            me=self._me,
            limits=self._limits,
            log=self._limited_log,
            admit=self._admit,
            use=self._use_outgoing,
            refused=self._refused,
        )
        self._diallers[name] = (dialler, self._spawn(dialler.keep_dialling()))

    async def _use_outgoing(self, name: str, link: OutgoingLink) -> None:
        self._spawn(link.write())
        await self._pairs.use(name, link, _refuse_frame)

    async def _serve(self, stream: Stream) -> None:
        if self._stopping:
            stream.close()
            return
        # A task of our own: what the network's is for, and whether it may be cancelled, is not ours to know.
        await asyncio.wait([self._spawn(self._accept(stream))])

    async def _accept(self, stream: Stream) -> None:
        greeted = await self._reception.greet(stream)
        if greeted is None:
            return
        name = greeted.card.identity.name
        link = Link(stream, greeted, self._limits)
        if name in self._diallers:
            self._diallers[name][0].hurry()

        def deliver(frame: Frame) -> None:
            if not self._call(self._on_message, name, frame):
                link.close("stopped")

        await self._pairs.use(name, link, deliver)

    # What happens by itself.

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._limits.keep_alive, self._tick)
        try:
            self._pairs.tick()
        except Exception as failure:
            self._fail(failure)

    def _admit(self, name: str, incarnation: bytes, meta: Mapping[str, str]) -> str | None:
        reasons: list[str | None] = []
        if not self._call(lambda: reasons.append(self._ask(name, incarnation, meta))):
            return "this member is stopping"
        return reasons[0]

    def _refused(self, name: str, reason: str, who: Identity | None) -> None:
        if self._on_refused is not None:
            self._call(self._on_refused, name, reason, who)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> bool:
        """Call back, unless that is over; whether it was done, without an exception."""
        if self._stopping or self._failed:
            return False
        try:
            callback(*arguments)
        except Exception as failure:
            self._fail(failure)
            return False
        return True

    def _fail(self, failure: BaseException) -> None:
        if not self._failed and not self._stopping:
            self._failed = True
            self._on_failure(failure)
        self._log.error("transport_failed", exc_info=failure)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._fail(failure)


def _refuse_frame(_frame: Frame) -> None:
    raise FrameError("frames come only on connections that their sender dialled")
