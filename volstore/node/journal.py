"""The agent's memory on disk: one small file for each volume, whole or not there at all, and without a secret.

`HASH.json`, 0600, written beside it, synced, renamed, and the directory synced: what is written before a call is
there after a power cut.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from volstore.node.paths import VolumeKey
from volstore.node.record import Record

_SUFFIX = ".json"
_NEW = ".new"


class JournalError(Exception):
    """The directory can't be used; the text says why."""


class Journal:
    """The records below a directory. `damaged` are the names of files that can't be read; they are kept aside."""

    def __init__(self, directory: Path) -> None:
        """Raises JournalError."""
        self._directory = directory
        self.damaged: list[str] = []
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError(f"{directory} can't be used for the agent's records: {error.strerror}") from None

    def load(self) -> dict[VolumeKey, Record]:
        """All records. A file that can't be read is renamed to `*.damaged` and named in `damaged`."""
        records: dict[VolumeKey, Record] = {}
        for file in sorted(self._directory.iterdir()):
            if file.suffix == _NEW:  # a crash came before the rename: the file beside it counts
                file.unlink()
            if file.suffix != _SUFFIX:
                continue
            try:
                record = msgspec.json.decode(file.read_bytes(), type=Record)
                if record.key.hash != file.stem:
                    raise msgspec.ValidationError("it is the record of another volume")
            except msgspec.DecodeError:
                file.replace(file.with_suffix(".damaged"))
                self.damaged.append(file.name)
                continue
            records[record.key] = record
        return records

    def write(self, record: Record) -> None:
        """It is on disk when this returns. Raises OSError."""
        path = self._directory / (record.key.hash + _SUFFIX)
        new = path.with_suffix(_NEW)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
        os.fsync(self._descriptor)

    def remove(self, key: VolumeKey) -> None:
        """Nothing is left of the volume here. Raises OSError."""
        (self._directory / (key.hash + _SUFFIX)).unlink(missing_ok=True)
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
