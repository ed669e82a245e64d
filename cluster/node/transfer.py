"""Brings a member that is too far behind up to date with a snapshot, piece by piece, beside the heartbeats.

One piece is under way at a time and the next one waits for its acknowledgement: that is the flow control. A lost
connection resumes where the receiver stands. Pieces carry no commit index (hole 2); what was received is verified
and durable before it is acknowledged as installed (hole 5).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

from cluster.raft.messages import Frame
from cluster.storage.journal import JournalFailed
from cluster.storage.snapshots import Incoming, SnapshotDamaged, SnapshotMeta, SnapshotStore

PIECE_BYTES = 128 << 10
FIRST_PATIENCE, MOST_PATIENCE = 2.0, 16.0
"""Seconds to wait for the answer to a piece. A piece can be lost without a word while its receiver starts; over a slow
line an answer takes as long as it takes. So the first try waits shortly, and each one after it twice as long."""
_INSTALL_TIMEOUT = 30.0
_REFUSAL_WAITS = 1.0

Send = Callable[[str, Frame], bool]


class Sending:
    """The leader's side: one transfer to one member."""

    def __init__(
        self, store: SnapshotStore, peer: str, term: int, send: Send, patience: float = FIRST_PATIENCE
    ) -> None:
        """`patience`: seconds to wait for the answer to a piece."""
        self.term = term
        self.patience = patience
        self._store = store
        self._peer = peer
        self._send = send
        self._over = False
        self._answer: asyncio.Future[tuple[int, bool]] | None = None
        self._meta: SnapshotMeta | None = None
        self.progress = 0.0

    async def run(self) -> int:
        """Send the newest snapshot; its index once it is installed. TimeoutError when the member doesn't answer,
        ConnectionError when it was given up, OSError or JournalError when the file can't be read now."""
        meta = self._store.latest()
        assert meta is not None, "a log that starts after its beginning has a snapshot"
        self._meta = meta
        # An empty piece asks how much the member has already.
        held, installed = await self._exchange(meta, 0, b"")
        while not installed:
            data = await self._store.read_at(meta, held, PIECE_BYTES)
            held, installed = await self._exchange(meta, held, data)
            self.progress = held / meta.size
        return meta.index

    async def _exchange(self, meta: SnapshotMeta, offset: int, data: bytes) -> tuple[int, bool]:
        if self._over:
            raise ConnectionError("the connection or the leadership is lost")
        self._answer = asyncio.get_running_loop().create_future()
        piece = [
            "snap", self.term, meta.index, meta.term, meta.size, offset, data,
            meta.digest, meta.membership, meta.extra,
        ]  # fmt: skip
        if not self._send(self._peer, piece):
            raise BlockingIOError(errno.EAGAIN, "what waits to be sent to it fills its queue")
        # The last piece is answered when all was verified and restored, which takes longer.
        timeout = self.patience if offset + len(data) < meta.size else _INSTALL_TIMEOUT
        async with asyncio.timeout(timeout):
            return await self._answer

    @property
    def index(self) -> int | None:
        """Of the snapshot that is sent: the log after it must stay. None before that is chosen."""
        return self._meta.index if self._meta is not None else None

    def give_up(self) -> None:
        """The piece under way, or its answer, is lost: don't wait for it."""
        self._over = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection or the leadership was lost"))

    def answered(self, index: int, held: int, installed: bool) -> None:
        if self._meta is not None and index == self._meta.index and self._answer and not self._answer.done():
            self._answer.set_result((held, installed))


class Receiving:
    """The member's side: takes pieces in order, one after the other."""

    def __init__(
        self, store: SnapshotStore, send: Send, install: Callable[[SnapshotMeta], Awaitable[None]],
        refused: Callable[[Exception], None], already: Callable[[int], bool],
    ) -> None:  # fmt: skip
        self._store = store
        self._send = send
        self._install = install
        self._refused = refused
        self._already = already
        self._pieces: asyncio.Queue[tuple[str, Frame]] = asyncio.Queue(maxsize=64)
        self._incoming: Incoming | None = None

    def piece(self, peer: str, frame: Frame) -> None:
        """Take one "snap" frame; more than a sender has a right to have under way are dropped, and asked for again."""
        if not self._pieces.full():
            self._pieces.put_nowait((peer, frame))

    async def run(self) -> None:
        while True:
            peer, frame = await self._pieces.get()
            try:
                await self._take(peer, *frame[1:])
            except (OSError, JournalFailed) as error:
                self._refused(error)
                # The leader asks again when it hears that nothing more is held; the disk may be well by then.
                await asyncio.sleep(_REFUSAL_WAITS)
                _kind, term, index, *_rest = frame
                held = self._incoming.received if self._incoming is not None else 0
                self._send(peer, ["snapack", term, index, held, False])

    async def _take(
        self, peer: str, term: int, index: int, snapshot_term: int, size: int, offset: int, data: bytes,
        digest: bytes, membership: bytes, extra: bytes,
    ) -> None:  # fmt: skip
        if self._already(index):
            self._send(peer, ["snapack", term, index, size, True])
            return
        meta = SnapshotMeta(index, snapshot_term, digest, membership, extra, size)
        if self._incoming is None or self._incoming.meta != meta:
            self._incoming = await self._store.begin(meta)
        incoming = self._incoming
        held = await incoming.write_at(offset, data) if data else incoming.received
        if held < size:
            self._send(peer, ["snapack", term, index, held, False])
            return
        self._incoming = None
        try:
            meta = await incoming.finish()
        except SnapshotDamaged as error:
            self._found_damaged(peer, term, index, error)
            return
        await self._install(meta)
        self._send(peer, ["snapack", term, index, size, True])

    def _found_damaged(self, peer: str, term: int, index: int, error: SnapshotDamaged) -> None:
        """Ask for all of it again (hole 5)."""
        self._refused(error)
        self._send(peer, ["snapack", term, index, 0, False])
