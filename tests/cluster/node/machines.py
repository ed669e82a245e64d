"""State machines for tests of the log: small, deterministic, and honest about what they applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import msgpack


class Captured:
    def __init__(self, items: list[bytes]) -> None:
        self._items = items

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self._items), 1000):
            yield msgpack.packb(self._items[start : start + 1000])


class Appends:
    """Keeps every command in order; the result is how many there are."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self._chain = b""

    def apply(self, command: bytes) -> bytes:
        self.items.append(command)
        self._chain = blake2b(self._chain + command, digest_size=16).digest()
        return b"%d" % len(self.items)

    def capture(self) -> Captured:
        return Captured(list(self.items))

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        items = [item for chunk in chunks for item in msgpack.unpackb(chunk)]

        def adopt() -> None:
            self.items, self._chain = [], b""
            for item in items:
                self.apply(item)

        return adopt

    def digest(self) -> bytes:
        return self._chain.ljust(16, b"\0")
