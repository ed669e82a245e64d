"""One connection after its handshake, in the one direction in which it carries frames; the other carries keep-alives.

Silence is counted in ticks of the transport's own timer and not in elapsed time: a process that was paused finds
itself one tick older, and doesn't take the time that it slept through for the other side's silence.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cluster.net.frames import KEEP_ALIVE, Frame, FrameError, FrameLimits
from cluster.net.greeting import Greeted
from cluster.ports import Stream

_WRITE_BYTES = 256 << 10
"""Frames that wait together are written together, up to so many bytes; then the kernel must have taken them."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of the transport; times in seconds, sizes in bytes. `handshakes`: of strangers, at one time.

    `dead_after` is counted in whole `keep_alive` periods, rounded up, of this process's own running time.
    """

    queue_bytes: int = 64 << 20
    frame_bytes: int = 32 << 20
    frame_items: int = 16_384
    keep_alive: float = 0.5
    dead_after: float = 2.0
    handshake_timeout: float = 2.0
    handshakes: int = 64
    reconnect_min: float = 0.05
    reconnect_max: float = 1.0

    def frames(self) -> FrameLimits:
        return FrameLimits(self.frame_bytes, self.frame_items)


class Link:
    """A connection that a peer dialled: its frames come in. Also what both directions share: reading, noticing
    silence, ending once and knowing why."""

    def __init__(self, stream: Stream, greeted: Greeted, limits: TransportLimits) -> None:
        self.card = greeted.card
        self.end: str | None = None
        self.heard_at = asyncio.get_running_loop().time()
        self._stream = stream
        self._decoder = greeted.decoder
        self._decoder.limits = limits.frames()
        self._silent = 0
        self._silence_allowed = math.ceil(limits.dead_after / limits.keep_alive)

    async def read(self, deliver: Callable[[Frame], None]) -> None:
        """Hand over frames in order, until the link ends; `end` then says why. Raises nothing of its own."""
        loop, decoder = asyncio.get_running_loop(), self._decoder

        def hand_over() -> None:
            while self.end is None and decoder.unread and (frame := decoder.take()) is not None:
                deliver(frame)

        def take(data: bytes) -> None:
            self.heard_at = loop.time()
            self._silent = 0
            decoder.feed(data)
            hand_over()

        try:
            hand_over()  # what came right after the handshake
            await self._stream.read_into(take)
            self.close("closed by the other side")
        except FrameError as error:
            self.close(f"malformed frame: {error}")
        except ConnectionError as error:
            self.close(str(error))
        finally:
            self.close("stopped")

    def tick(self) -> None:
        """A keep-alive period has passed: end the link if it was silent for too long; otherwise show that we live."""
        self._silent += 1
        if self._silent > self._silence_allowed:
            self.close(f"silent for {self._silence_allowed} keep-alive periods")
        else:
            self._keep_alive()

    def close(self, reason: str) -> None:
        """End the link; the first reason stays."""
        if self.end is None:
            self.end = reason
            self._stream.close()

    def _keep_alive(self) -> None:
        self._stream.write(KEEP_ALIVE)


class OutgoingLink(Link):
    """We dialled a peer: our frames go out, in the order of `put`, through one queue with a bound.

    One queue, no lanes: order is a promise. A snapshot is cut in pieces by its sender, so that nothing waits long
    behind it.
    """

    def __init__(self, stream: Stream, greeted: Greeted, limits: TransportLimits) -> None:
        super().__init__(stream, greeted, limits)
        self.queued = 0
        self._under_way = 0
        """Bytes of the queue that were written, and that the kernel may not have taken yet."""
        self._queue_bytes = limits.queue_bytes
        self._pending: deque[bytes] = deque()
        self._filled = asyncio.Event()

    def put(self, data: bytes, *, at_once: bool = False) -> bool:
        """Queue an encoded frame; False when it doesn't fit. Never blocks.

        With `at_once` it is written now if nothing is before it. Without, it waits for the others of this turn of the
        loop, so that many small ones cost the kernel one write.
        """
        if self.end is not None or self.queued + len(data) > self._queue_bytes:
            return False
        if at_once and not self.queued and self._stream.is_drained():
            self._stream.write(data)
            if self._stream.is_drained():
                return True
            self._under_way = len(data)
        else:
            self._pending.append(data)
        self.queued += len(data)
        self._filled.set()
        return True

    async def write(self) -> None:
        """Write what is queued until the link ends, together what was queued in one turn of the loop."""
        try:
            while True:
                if not self.queued:
                    self._filled.clear()
                    await self._filled.wait()
                if self.end is not None:
                    return
                if not self._under_way:
                    self._write_waiting()
                await self._stream.drain()
                self.queued -= self._under_way
                self._under_way = 0
        except ConnectionError as error:
            self.close(str(error))

    def _write_waiting(self) -> None:
        batch: list[bytes] = []
        while self._pending and (not batch or self._under_way + len(self._pending[0]) <= _WRITE_BYTES):
            batch.append(self._pending.popleft())
            self._under_way += len(batch[-1])
        self._stream.write(batch[0] if len(batch) == 1 else b"".join(batch))

    def close(self, reason: str) -> None:
        super().close(reason)
        self._pending.clear()
        self._filled.set()

    def _keep_alive(self) -> None:
        # Bytes that are on their way say as much; and between two of them is no place for a keep-alive.
        if not self.queued:
            super()._keep_alive()
