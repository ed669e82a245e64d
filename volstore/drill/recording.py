"""What a drill writes down, kept in a file while it runs: one that crashes leaves its evidence all the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from volstore.drill.record import Event, Request


class Recording:
    """JSON lines: first {"drill": …}, what it is of; then {"request": …} and {"event": …} as they end, in the fields of
    volstore/drill/record.py.

    Each line is handed to the kernel at once. Raises OSError where that fails: evidence that isn't kept is none.
    """

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        self._file = path.open("wb", buffering=0)
        self._encode = msgspec.json.Encoder().encode
        try:
            self._write({"drill": dict(about)})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def note(self, one: Request | Event) -> None:
        self._write({"request" if isinstance(one, Request) else "event": one})

    def _write(self, line: object) -> None:
        data = self._encode(line) + b"\n"
        while data:
            data = data[self._file.write(data) :]
