"""Keeps one connection to one peer: dials, greets, uses it while it lives, waits a little, and again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from cluster.net.frames import FrameError
from cluster.net.greeting import Admit, Refused, introduce
from cluster.net.handshake import Card, Identity
from cluster.net.links import OutgoingLink, TransportLimits
from cluster.net.rate_limit import RateLimitedLog
from cluster.ports import Network, Random, Stream


class Backoff:
    """Delays in seconds, from about `shortest` to about `longest`, each 25% up or down at random: members that lost
    each other at the same moment don't come back at the same moment."""

    def __init__(self, random: Random, shortest: float, longest: float) -> None:
        self._random = random
        self._shortest = shortest
        self._longest = longest
        self._failures = 0

    def after(self, lived: float) -> float:
        """The delay after a connection that lived for so many seconds (0: it never came about).

        Only one that outlived the longest delay counts as a success: otherwise a peer that accepts and at once hangs up
        would be dialled at the shortest delay for ever.
        """
        if lived >= self._longest:
            self._failures = 0
        delay = min(self._longest, self._shortest * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * (0.75 + 0.5 * self._random.random())


class Dialler:
    """Dials the member `name` at `address` for as long as `keep_dialling` runs.

    `use(name, link)` has the connection until it ends; `refused(name, reason, who)` hears that the peer refused us,
    and what it said of itself before.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        network: Network,
        random: Random,
        me: Card,
        limits: TransportLimits,
        log: RateLimitedLog,
        admit: Admit,
        use: Callable[[str, OutgoingLink], Awaitable[None]],
        refused: Callable[[str, str, Identity | None], None],
    ) -> None:
        self._name = name
        self._address = address
        self._network = network
        self._random = random
        self._me = me
        self._limits = limits
        self._log = log
        self._admit = admit
        self._use = use
        self._refused = refused
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """The peer has just shown up itself: don't wait out the delay."""
        self._hurry.set()

    async def keep_dialling(self) -> None:
        """Never returns; ends by being cancelled."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._random, self._limits.reconnect_min, self._limits.reconnect_max)
        hurried = -math.inf
        while True:
            link = await self._dial()
            began = loop.time()
            if link is not None:
                self._hurry.clear()
                await self._use(self._name, link)
            now = loop.time()
            delay = backoff.after(now - began)
            if now - hurried < self._limits.reconnect_max:
                # Two members that accept and at once lose each other mustn't hurry each other on without end.
                await asyncio.sleep(delay)
            elif await self._hurried_within(delay):
                hurried = loop.time()
            self._hurry.clear()

    async def _hurried_within(self, delay: float) -> bool:
        try:
            async with asyncio.timeout(delay):
                await self._hurry.wait()
        except TimeoutError:
            return False
        return True

    async def _dial(self) -> OutgoingLink | None:
        stream: Stream | None = None
        link: OutgoingLink | None = None
        try:
            async with asyncio.timeout(self._limits.handshake_timeout):
                stream = await self._network.connect(self._address)
                greeted = await introduce(stream, self._me, self._name, self._admit)
            link = OutgoingLink(stream, greeted, self._limits)
        except Refused as refused:
            self._warn("refused_by_peer" if refused.by_peer else "peer_refused", refused.cause, refused.reason)
            if refused.by_peer:
                self._refused(self._name, refused.reason, refused.peer)
        except (OSError, FrameError) as error:
            reason = str(error) or f"no answer within {self._limits.handshake_timeout} s"
            self._warn("peer_unreachable", type(error).__name__, reason)
        finally:
            if link is None and stream is not None:
                stream.close()
        return link

    def _warn(self, event: str, cause: str, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        self._log.warning(now, (self._name, cause), event, peer=self._name, address=self._address, reason=reason)
