"""`next_step`: what to do next for one volume, from what is wanted and what is there. It knows no clock and no I/O.

Level-triggered: there is no sequence to resume, each step follows from the present alone. Rules it keeps:
- nothing is torn down without a word: a released claim, a revocation, or a set-up of ours that is being undone;
- nothing is unstaged while a target is there, nothing is staged or published before its negation is finished;
- a driver is told to unpublish only a target with at most one mount and nothing mounted inside it, as some drivers
  delete what they find below a target;
- a user's path shows a volume only after the target was seen, read-only where that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from volstore.node.record import ABSENT, DONE, STARTED, UNDOING, PluginView, Progress, Record, Seen, Target
from volstore.node.work import ATTACHED, LEAVING, READ, Attachment, Claim

STAGE, UNSTAGE = "stage", "unstage"
PUBLISH, UNPUBLISH = "publish", "unpublish"
BIND, UNBIND = "bind", "unbind"
UNSTACK = "unstack"
MAKE_READ_ONLY = "make_read_only"
CLEAN_UP = "clean_up"
FORGET = "forget"

STAGING = ""
"""The item of steps that concern the whole volume; those of a target have its allocation's ID."""
ONE_WRITER = frozenset({"single-node-writer", "multi-node-single-writer"})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `CLEAN_UP` is `UNPUBLISH` without the driver, where the user insists."""

    kind: str
    item: str = STAGING


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now. `reasons` say why, in words by item; empty: all is as it is wanted."""

    reasons: Mapping[str, str]


def next_step(
    desired: Attachment | None,
    record: Record,
    seen: Seen,
    plugin: PluginView,
    *,
    revoked: bool = False,
    resting: Mapping[str, str] | None = None,
) -> Step | Wait:
    """The next step for a volume, or why there is none. An item in `resting` is left alone, for the reason given."""
    resting = resting or {}
    reasons: dict[str, str] = dict(resting)
    for item, found in _candidates(desired, record, seen, plugin, revoked):
        if item in resting:
            continue
        if isinstance(found, Step):
            return found
        reasons.setdefault(item, found)
    if not reasons and record.nothing_left and not wanted(desired, revoked=revoked):
        return Step(FORGET)
    return Wait(reasons)


def wanted(desired: Attachment | None, *, revoked: bool = False) -> list[Claim]:
    """The claims that shall have their target here now."""
    if desired is None or revoked or desired.state != ATTACHED:
        return []
    return [claim for claim in desired.claims if not claim.released]


def _candidates(
    desired: Attachment | None, record: Record, seen: Seen, plugin: PluginView, revoked: bool
) -> Iterator[tuple[str, Step | str]]:
    """Each item's next step, or what it waits for, the most urgent first."""
    claims = {claim.allocation_id: claim for claim in desired.claims} if desired else {}
    claimed = wanted(desired, revoked=revoked)
    unstaging = record.stage.phase == UNDOING
    there = False
    for target in record.targets.values():
        claim = claims.get(target.allocation_id)
        mounted = seen.shows(target.allocation_id)
        if target.progress.phase == ABSENT and not mounted and not target.bound:
            continue
        if _must_go(target, claim, mounted=mounted, all_of_it=revoked or unstaging, claimed=claimed):
            there = True
            force = claim is not None and claim.force
            yield target.allocation_id, _tear_down(target, seen, plugin, force=force)
        elif claim is None:
            there = True
            yield target.allocation_id, "the registry lists no such claim: nothing is unmounted for that"
        elif claim not in claimed and desired is not None:
            there = True
            yield target.allocation_id, f"the volume is {desired.state}"
    if desired is None or unstaging or not claimed:
        if record.stage.phase == ABSENT or there:
            return
        if revoked or unstaging or (desired is not None and desired.state == LEAVING):
            yield STAGING, _unstage(seen, plugin)
        elif desired is None:
            yield STAGING, "staged here, and the registry lists no attachment: nothing is unstaged for that"
        return
    if plugin.stages and (record.stage.phase != DONE or (record.stage_mounts and not seen.staging)):
        yield STAGING, plugin.why_not or Step(STAGE)
        return
    for claim in claimed:
        yield from _set_up(claim, desired, record, seen, plugin)


def _must_go(target: Target, claim: Claim | None, *, mounted: bool, all_of_it: bool, claimed: list[Claim]) -> bool:
    phase, doubt = target.progress.phase, target.progress.doubt
    if all_of_it or phase == UNDOING:
        return True
    if claim is None:
        # A call that was given up may be carried out late: that is ours to undo, whatever the registry lists.
        return phase == ABSENT and mounted and doubt
    if claim.released:
        return True
    return claim in claimed and phase != ABSENT and (target.read_only, target.path) != (claim.mode == READ, claim.path)


def _tear_down(target: Target, seen: Seen, plugin: PluginView, *, force: bool) -> Step | str:
    item = target.allocation_id
    mounts = seen.targets.get(item, ())
    if target.bound is not None:
        shown = seen.paths.get(item, ())
        if shown and shown[-1].origin != target.bound and any(mount.origin == target.bound for mount in shown):
            return f"something else is mounted over {target.path}: unmount that first"
        return Step(UNBIND, item)
    if inside := seen.below.get(item):
        return f"mounted inside the volume: {', '.join(inside[:3])}; unmount that first"
    if len(mounts) > 1:
        return Step(UNSTACK, item)
    if force:
        return Step(CLEAN_UP, item)
    return plugin.why_not or Step(UNPUBLISH, item)


def _unstage(seen: Seen, plugin: PluginView) -> Step | str:
    left = [item for item in (*seen.targets, *seen.devices) if seen.shows(item)]
    if left or seen.foreign:
        return f"still published: {', '.join([*left, *seen.foreign][:3])}"
    return plugin.why_not or Step(UNSTAGE)


def _set_up(
    claim: Claim, desired: Attachment, record: Record, seen: Seen, plugin: PluginView
) -> Iterator[tuple[str, Step | str]]:
    item = claim.allocation_id
    target = record.targets.get(item)
    progress = target.progress if target else Progress()
    if progress.phase == UNDOING:
        return
    mounts = seen.targets.get(item, ())
    read_only = claim.mode == READ
    if read_only and record.block and not plugin.trusts_read_only:
        yield (
            item,
            "drivers let read-only block devices be written: claim it for writing, or let the agent trust this "
            "plugin (trust_read_only)",
        )
    elif other := _other_writer(claim, desired, record):
        yield item, f"allocation {other} still writes it here"
    elif progress.phase in (ABSENT, STARTED) or (plugin.verifies and not seen.shows(item)):
        yield item, plugin.why_not or Step(PUBLISH, item)
    elif len(mounts) > 1 and not seen.below.get(item):
        yield item, Step(UNSTACK, item)
    elif read_only and mounts and not record.block and not mounts[-1].read_only:
        yield item, Step(MAKE_READ_ONLY, item)
    elif claim.path and seen.shows(item) and not (target and shows_at_path(target, seen)):
        yield item, Step(BIND, item)


def _other_writer(claim: Claim, desired: Attachment, record: Record) -> str | None:
    """The allocation that must be gone before this one may write: drivers don't see to that."""
    if claim.mode == READ or desired.access_mode not in ONE_WRITER:
        return None
    for other in record.targets.values():
        if other.allocation_id != claim.allocation_id and not other.read_only and other.progress.phase != ABSENT:
            return other.allocation_id
    return None


def shows_at_path(target: Target, seen: Seen) -> bool:
    """Whether the user's path shows what is at the target."""
    if target.bound is None:
        return False
    mounts = seen.targets.get(target.allocation_id)
    origin = mounts[-1].origin if mounts else target.bound
    return any(mount.origin == origin for mount in seen.paths.get(target.allocation_id, ()))
