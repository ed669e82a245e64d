"""The world as `cluster` sees it: a clock, randomness, a disk, a network, and a place for work that blocks.

Everything that a simulator must own goes through here; `storage/disk.py` and `net/tcp.py` have the real ones.
All coroutines run on one asyncio loop whose `loop.time()` is the only clock, so that a loop with virtual time
simulates it all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class File(Protocol):
    """An open file. Methods block: the journal calls them from `Disk.run` or where blocking is harmless (start)."""

    def append(self, data: bytes) -> None:
        """Write all of `data` at the end. OSError when it can't (a part of it may then be there)."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        ...

    def size(self) -> int: ...

    def sync(self) -> None:
        """fdatasync. OSError when it fails: nothing written since the last sync may then be believed."""
        ...

    def truncate(self, size: int) -> None: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """One data directory; names are relative to it and have no folders in them but where said with '/'."""

    def open(self, name: str, *, create: bool = False) -> File:
        """Open for reading and appending. FileNotFoundError unless it is there or `create`."""
        ...

    def list(self, folder: str = "") -> list[str]: ...

    def make_folder(self, name: str) -> None: ...

    def rename(self, old: str, new: str) -> None:
        """Atomic; durable only after `sync_folder`."""
        ...

    def remove(self, name: str) -> None: ...

    def sync_folder(self, name: str = "") -> None: ...

    def free_bytes(self) -> int: ...

    def lock(self) -> None:
        """Take the directory for this process until it ends. BlockingIOError when another one has it."""
        ...

    def unlock(self) -> None: ...

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """Do blocking `work` away from the loop (in a thread), in the order of the calls; to be awaited once."""
        ...

    def begin(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        """As `run`, without a task that waits: `done` gets what `work` raised, if anything, in a later turn of
        the loop."""
        ...


class Stream(Protocol):
    """One established byte stream, TLS included; a thin face over asyncio streams."""

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; b"" at the end. ConnectionError when it broke."""
        ...

    async def read_into(self, take: Callable[[bytes], None]) -> None:
        """Hand what comes to `take` as it comes, until the end, which `close` is too. ConnectionError when it broke,
        and whatever `take` raises; what came before is handed over first."""
        ...

    def write(self, data: bytes) -> None: ...

    def is_drained(self) -> bool:
        """Whether `drain` would return at once."""
        ...

    async def drain(self) -> None:
        """Return when all that was written has left this process. ConnectionError when the stream broke or closed."""
        ...

    def close(self) -> None:
        """Drop the connection at once, with what hasn't left yet; a waiting `read` gives b"", `drain` raises."""
        ...

    def peer(self) -> str:
        """The other side's address, for logs."""
        ...

    def peer_names(self) -> frozenset[str]:
        """Names in the other side's verified certificate; empty without TLS."""
        ...


class Listener(Protocol):
    async def close(self) -> None:
        """Accept nothing more, and return when every `serve` has ended; the caller must end them first."""
        ...

    def address(self) -> str:
        """The "HOST:PORT" that is really bound (for port 0)."""
        ...


class Network(Protocol):
    async def listen(self, address: str, serve: Callable[[Stream], Awaitable[None]]) -> Listener: ...

    async def connect(self, address: str) -> Stream:
        """OSError when it can't. The caller bounds the time."""
        ...


class Random(Protocol):
    """The part of `random.Random` that is used; seeded by a simulator."""

    def random(self) -> float: ...

    def randbytes(self, n: int) -> bytes: ...
