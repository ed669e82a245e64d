"""The node's report, from its records and its mounts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from volstore.node.mountinfo import MountTable
from volstore.node.paths import Paths, VolumeKey
from volstore.node.record import ABSENT, DONE, UNDOING, Record, Seen, Target
from volstore.node.sight import look, unexplained, unlisted
from volstore.node.steps import STAGING, shows_at_path
from volstore.node.work import Attachment, AttachmentReport, HostReport, TargetReport, Unexpected

WAITING, PUBLISHING, PUBLISHED, UNPUBLISHING = "waiting", "publishing", "published", "unpublishing"


def report(
    table: MountTable,
    paths: Paths,
    records: Mapping[VolumeKey, Record],
    desired: Mapping[VolumeKey, Attachment],
    waits: Mapping[VolumeKey, Mapping[str, str]],
    *,
    boot_id: str,
    work_index: int,
    is_device: Callable[[str], bool],
) -> HostReport:
    """Everything that is or may be here. `waits`: why items aren't as they are wanted, in words."""
    attachments: list[AttachmentReport] = []
    unexpected: list[Unexpected] = []
    for key in sorted(records.keys() | desired.keys()):
        record, wanted = records.get(key), desired.get(key)
        seen = look(table, paths, key, record, wanted, is_device)
        if found := _attachment(key, record, seen, wanted, waits.get(key, {})):
            attachments.append(found)
        if record is not None:
            unexpected += unlisted(seen, paths, key, record, wanted)
    unexpected += unexplained(table, paths, records.keys() | desired.keys())
    return HostReport(boot_id=boot_id, work_index=work_index, attachments=attachments, unexpected=unexpected)


def _attachment(
    key: VolumeKey, record: Record | None, seen: Seen, wanted: Attachment | None, why: Mapping[str, str]
) -> AttachmentReport | None:
    """A volume's part of the report, or None if there is nothing to tell of it."""
    targets = [
        TargetReport(
            allocation_id=item,
            state=_state(target, seen),
            read_only=target.read_only,
            path=target.path,
            error=why.get(item, ""),
        )
        for item, target in (record.targets.items() if record else ())
        if target.progress.phase != ABSENT or target.bound is not None or seen.shows(item)
    ]
    told = {target.allocation_id for target in targets}
    targets += [
        TargetReport(allocation_id=claim.allocation_id, state=WAITING, path=claim.path, error=why[claim.allocation_id])
        for claim in (wanted.claims if wanted else ())
        if claim.allocation_id in why and claim.allocation_id not in told
    ]
    staged = record is not None and record.stage.phase != ABSENT
    if not targets and not staged and STAGING not in why:
        return None
    return AttachmentReport(
        plugin_id=key.plugin_id,
        external_id=key.external_id,
        staged=staged,
        targets=targets,
        error=why.get(STAGING, ""),
    )


def _state(target: Target, seen: Seen) -> str:
    phase = target.progress.phase
    if phase in (UNDOING, ABSENT):
        return UNPUBLISHING
    mounts = seen.targets.get(target.allocation_id)
    writable = target.read_only and mounts and not mounts[-1].read_only
    hidden = bool(target.path) and not shows_at_path(target, seen)
    if phase == DONE and not writable and not hidden and (mounts is None or len(mounts) == 1):
        return PUBLISHED
    return PUBLISHING
