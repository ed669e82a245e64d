"""How a step changes a volume's record: `begin` before it is done, `finish` after. Both are pure.

The record that `begin` returns is on disk before a driver hears of anything, so that a crash at any moment leaves a
record that says at least what there may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from volstore.node.codes import DONE as CERTAIN
from volstore.node.codes import FINAL, NOT_SENT, WAITS
from volstore.node.record import ABSENT, DONE, STARTED, UNDOING, Progress, Record, Seen, Target
from volstore.node.steps import BIND, CLEAN_UP, PUBLISH, STAGE, UNBIND, UNPUBLISH, UNSTAGE, Step
from volstore.node.work import BLOCK_DEVICE, READ, Attachment, Claim

MOST_FORMER_TARGETS = 64
"""Targets that are gone and kept until the volume is unstaged, as a driver may ask to unpublish them once more."""

NOT_MOUNTED = "not_mounted"
"""The answer was OK, and the host shows that it isn't so."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: a class of `codes`, or NOT_MOUNTED. `text` says what went wrong, in words.

    `staging_mounted`: whether there is a mount at the staging path after a stage.
    """

    kind: str = CERTAIN
    text: str = ""
    staging_mounted: bool = False


def rebuilt(desired: Attachment, seen: Seen, boot_id: str) -> Record:
    """The record of a volume that none was kept of: it is new here, or the agent's directory was lost.

    What the host shows, or the registry once heard of, may be there, and calls for it may still be going on.
    """
    perhaps = Progress(phase=STARTED, doubt=True)
    return Record(
        plugin_id=desired.plugin_id,
        external_id=desired.external_id,
        block=desired.attachment_mode == BLOCK_DEVICE,
        boot_id=boot_id,
        stage=perhaps if desired.staged or seen.staging else Progress(),
        stage_mounts=bool(seen.staging),
        targets={
            claim.allocation_id: Target(
                allocation_id=claim.allocation_id,
                namespace=claim.namespace,
                volume_id=claim.volume_id,
                read_only=claim.mode == READ,
                path=claim.path,
                progress=perhaps,
                bound=_origin_at(claim, seen),
            )
            for claim in desired.claims
            if claim.reported or seen.shows(claim.allocation_id)
        },
    )


def _origin_at(claim: Claim, seen: Seen) -> tuple[str, str] | None:
    """What of ours is mounted at the user's path."""
    ours = {mount.origin for mount in seen.targets.get(claim.allocation_id, ())}
    found = [mount.origin for mount in seen.paths.get(claim.allocation_id, ()) if mount.origin in ours]
    return found[-1] if found else None


def loaded(record: Record, boot_id: str) -> Record:
    """The record as it must be read by an agent that has just started.

    A call whose end wasn't written down may still be carried out. After a reboot no earlier call can be, and no mount
    is left; but the driver may know of them all the same, so that they are negated or made again.
    """
    rebooted = record.boot_id != boot_id

    def read(progress: Progress) -> Progress:
        if rebooted:
            phase = STARTED if progress.phase == DONE else progress.phase
            return Progress(phase=phase)
        return replace(progress, doubt=progress.doubt or progress.phase == STARTED)

    return replace(
        record,
        boot_id=boot_id,
        stage=read(record.stage),
        stage_mounts=record.stage_mounts and not rebooted,
        targets={
            item: replace(
                target,
                progress=read(target.progress),
                # The directory that we made for the user outlives a reboot, and so does our duty to remove it.
                bound=None if rebooted and not target.made else target.bound,
            )
            for item, target in record.targets.items()
        },
    )


def doubts_over(record: Record) -> Record:
    """What hasn't happened so long after it was undone isn't waited for any more."""
    return _each(record, lambda progress: replace(progress, doubt=progress.doubt and progress.phase != ABSENT))


def begin(record: Record, step: Step, desired: Attachment | None, seen: Seen) -> Record:
    """The record to write before the step is done."""
    if step.kind == STAGE:
        return replace(record, stage=replace(record.stage, phase=STARTED, clean=0))
    if step.kind == UNSTAGE:
        clean = 0 if seen.staging else record.stage.clean
        return replace(record, stage=replace(record.stage, phase=UNDOING, clean=clean))
    if step.kind == PUBLISH:
        assert desired is not None
        claim = next(claim for claim in desired.claims if claim.allocation_id == step.item)
        old = record.targets.get(step.item)
        progress = replace(old.progress if old else Progress(), phase=STARTED, clean=0)
        target = Target(
            allocation_id=claim.allocation_id,
            namespace=claim.namespace,
            volume_id=claim.volume_id,
            read_only=claim.mode == READ,
            path=claim.path,
            progress=progress,
            bound=old.bound if old else None,
            made=old.made if old else False,
        )
        return replace(record, targets={**record.targets, step.item: target})
    if step.kind in (UNPUBLISH, CLEAN_UP):
        target = record.targets[step.item]
        clean = 0 if seen.shows(step.item) else target.progress.clean
        return _with(record, replace(target, progress=replace(target.progress, phase=UNDOING, clean=clean)))
    return record


def bound(record: Record, item: str, origin: tuple[str, str], *, made: bool) -> Record:
    """The record to write before the user's path is mounted."""
    return _with(record, replace(record.targets[item], bound=origin, made=made or record.targets[item].made))


def finish(record: Record, step: Step, outcome: Outcome) -> Record:
    """The record to write after the step was done."""
    if step.kind == STAGE:
        stage = _set_up(record.stage, outcome)
        mounts = outcome.staging_mounted if stage.phase == DONE else record.stage_mounts
        return replace(record, stage=stage, stage_mounts=mounts)
    if step.kind == PUBLISH:
        target = record.targets[step.item]
        record = _with(record, replace(target, progress=_set_up(target.progress, outcome)))
        if outcome.kind == WAITS and record.stage.phase == DONE:
            # "must be staged first": the driver has forgotten, and staging again is harmless.
            return replace(record, stage=replace(record.stage, phase=STARTED))
        return record
    if step.kind in (UNPUBLISH, CLEAN_UP):
        target = record.targets[step.item]
        return _with_former(record, replace(target, progress=_torn_down(target.progress, outcome)))
    if step.kind == UNSTAGE:
        return _unstaged(record, outcome)
    if step.kind == UNBIND and outcome.kind == CERTAIN:
        return _with(record, replace(record.targets[step.item], bound=None, made=False))
    if step.kind == BIND and outcome.kind == CERTAIN:
        return record
    return record


def _set_up(progress: Progress, outcome: Outcome) -> Progress:
    if outcome.kind == CERTAIN:
        return replace(progress, phase=DONE, clean=0)
    if outcome.kind in (FINAL, NOT_MOUNTED):
        return replace(progress, phase=UNDOING, clean=0)
    if outcome.kind in (NOT_SENT, WAITS):
        return progress
    return replace(progress, doubt=True)


def _torn_down(progress: Progress, outcome: Outcome) -> Progress:
    if outcome.kind != CERTAIN:
        return replace(progress, clean=0)
    clean = progress.clean + 1
    if clean < progress.cleans_needed:
        return replace(progress, clean=clean)
    return replace(progress, phase=ABSENT, clean=0)


def _unstaged(record: Record, outcome: Outcome) -> Record:
    stage = _torn_down(record.stage, outcome)
    if stage.phase == ABSENT:
        kept = {item: target for item, target in record.targets.items() if not _is_former(target)}
        return replace(record, stage=stage, stage_mounts=False, targets=kept)
    targets = record.targets
    if outcome.kind not in (CERTAIN, NOT_SENT):
        # A driver may count a target that was published again twice, and want to be told once more that it is gone.
        targets = {
            item: replace(target, progress=replace(target.progress, phase=UNDOING, clean=0))
            if target.progress.phase == ABSENT
            else target
            for item, target in targets.items()
        }
    return replace(record, stage=stage, targets=targets)


def _is_former(target: Target) -> bool:
    return target.progress.phase == ABSENT and not target.progress.doubt and target.bound is None


def _with(record: Record, target: Target) -> Record:
    return replace(record, targets={**record.targets, target.allocation_id: target})


def _with_former(record: Record, target: Target) -> Record:
    """The record with a target that may be gone now, and without the oldest ones that went."""
    if record.stage.phase == ABSENT and _is_former(target):
        return replace(record, targets={k: v for k, v in record.targets.items() if k != target.allocation_id})
    targets: Mapping[str, Target] = {**record.targets, target.allocation_id: target}
    former = [item for item, one in targets.items() if _is_former(one)]
    dropped = set(former[: max(0, len(former) - MOST_FORMER_TARGETS)])
    return replace(record, targets={item: one for item, one in targets.items() if item not in dropped})


def _each(record: Record, change: Callable[[Progress], Progress]) -> Record:
    return replace(
        record,
        stage=change(record.stage),
        targets={item: replace(target, progress=change(target.progress)) for item, target in record.targets.items()},
    )
