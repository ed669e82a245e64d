"""Which member a data directory belongs to: written once, when it is made, and checked at every start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from cluster.api import LogError
from cluster.ports import Disk, Random

_FILE = "member"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """`incarnation` is drawn with the directory: an empty disk under an old name is another member."""

    cluster_id: str
    name: str
    incarnation: bytes


def held(disk: Disk) -> DataIdentity | None:
    """Whose directory this is, None for an empty one. LogError when that can't be read."""
    return _read(disk) if _FILE in disk.list() else None


def claim(disk: Disk, cluster_id: str, name: str, random: Random) -> DataIdentity:
    """The directory's identity; a new one for an empty directory. LogError when it is another member's."""
    if _FILE not in disk.list():
        fresh = DataIdentity(cluster_id, name, random.randbytes(16))
        _write(disk, fresh)
        return fresh
    # A name that its folder's sync failed to keep is still shown, and would be gone after a power cut.
    disk.sync_folder()
    found = _read(disk)
    if found.cluster_id != cluster_id:
        raise LogError(
            f"the data directory belongs to cluster {found.cluster_id!r}, this node is configured for {cluster_id!r}"
        )
    if found.name != name:
        raise LogError(f"the data directory belongs to member {found.name!r}, this node is configured as {name!r}")
    return found


def replace(disk: Disk, identity: DataIdentity) -> None:
    """Make the directory another member's, or another cluster's; only for one whose log was made to fit."""
    _write(disk, identity)


def _write(disk: Disk, identity: DataIdentity) -> None:
    temporary = _FILE + ".tmp"
    if temporary in disk.list():
        disk.remove(temporary)
    file = disk.open(temporary, create=True)
    try:
        file.append(msgpack.packb([_FORMAT, identity.cluster_id, identity.name, identity.incarnation]))
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, _FILE)
    disk.sync_folder()


def _read(disk: Disk) -> DataIdentity:
    file = disk.open(_FILE)
    try:
        data = file.read(0, file.size())
    finally:
        file.close()
    try:
        format_, cluster_id, name, incarnation = _unpack(data)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise LogError(
            f"file {_FILE!r} of the data directory can't be read ({error}); restore it or start afresh"
        ) from None
    if format_ != _FORMAT:
        raise LogError(f"the data directory has format {format_}, this version knows {_FORMAT}: upgrade this node")
    return DataIdentity(cluster_id, name, incarnation)


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data)
