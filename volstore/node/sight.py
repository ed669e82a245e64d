"""From the table of mounts to what concerns one volume, and to what concerns none that is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from volstore.node.mountinfo import MountTable
from volstore.node.paths import Paths, VolumeKey
from volstore.node.record import ABSENT, Record, Seen
from volstore.node.work import BLOCK_DEVICE, Attachment, Unexpected


def look(
    table: MountTable,
    paths: Paths,
    key: VolumeKey,
    record: Record | None,
    desired: Attachment | None,
    is_device: Callable[[str], bool],
) -> Seen:
    """What the host shows of one volume. `is_device` is asked of a block volume's targets that aren't mounts."""
    user_paths: dict[str, str] = {}
    for claim in desired.claims if desired else ():
        user_paths[claim.allocation_id] = claim.path
    for target in record.targets.values() if record else ():
        # While it is bound somewhere, that is where it has to be unbound, whatever the claim says now.
        user_paths[target.allocation_id] = target.path
    seen = Seen(staging=table.at(paths.staging(key)))
    block = record.block if record else desired is not None and desired.attachment_mode == BLOCK_DEVICE
    devices: list[str] = []
    explained: list[str] = []
    for allocation_id, user_path in user_paths.items():
        target_path = paths.target(key, allocation_id)
        explained.append(target_path)
        if mounts := table.at(target_path):
            seen.targets[allocation_id] = mounts
        elif block and is_device(target_path):
            devices.append(allocation_id)
        if inside := table.below(target_path):
            seen.below[allocation_id] = inside
        if user_path and (mounts := table.at(user_path)):
            seen.paths[allocation_id] = mounts
    foreign = tuple(
        point
        for point in table.below(paths.volume(key))
        if not any(point == path or point.startswith(path + "/") for path in explained)
    )
    return replace(seen, devices=frozenset(devices), foreign=foreign) if devices or foreign else seen


def unexplained(table: MountTable, paths: Paths, keys: Iterable[VolumeKey]) -> list[Unexpected]:
    """Mounts below our base that belong to no known volume."""
    known = {key.hash for key in keys}
    found: list[Unexpected] = []
    for directory in ("s", "p"):
        prefix = f"{paths.base}/{directory}/"
        for point in table.below(prefix):
            if point.removeprefix(prefix).split("/", 1)[0] not in known:
                found.append(Unexpected(path=point))
    return found


def unlisted(seen: Seen, paths: Paths, key: VolumeKey, record: Record, desired: Attachment | None) -> list[Unexpected]:
    """What a known volume has here that the registry doesn't list."""
    claims = {claim.allocation_id for claim in desired.claims} if desired else set()
    found = [
        Unexpected(
            path=paths.target(key, item), plugin_id=key.plugin_id, external_id=key.external_id, allocation_id=item
        )
        for item in (*seen.targets, *seen.devices)
        if item not in claims
    ]
    found += [Unexpected(path=point, plugin_id=key.plugin_id, external_id=key.external_id) for point in seen.foreign]
    if desired is None and (seen.staging or record.stage.phase != ABSENT):
        found.append(Unexpected(path=paths.staging(key), plugin_id=key.plugin_id, external_id=key.external_id))
    return found
