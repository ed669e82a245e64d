"""Writes a drill's record to a file while the drill runs, so that it survives a crash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from volstore.drill.record import Event, Request


class Recording:
    """A file of JSON lines: first {"drill": …} about the drill, then {"request": …} and {"event": …} as they end.

    Their fields are those of volstore/drill/record.py. Each line goes to the kernel at once. Raises OSError if that
    fails: a drill without its record proves nothing.
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
