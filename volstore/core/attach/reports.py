"""What a node's report of its volumes means: claims that are gone end, and volumes that nobody has are detached."""

from __future__ import annotations

from msgspec.structs import replace

from volstore.core.attach.calls import settle
from volstore.core.attach.commands import ReportAttachments, VolumeState
from volstore.core.attach.rows import ATTACHED, ATTACHING, Attachment, Host, HostClaim, RevokedVolume, UnexpectedMount
from volstore.core.attach.tables import LONGEST_UNEXPECTED
from volstore.core.claim_changes import ClaimChanges
from volstore.core.rules import Refusal, short
from volstore.core.state import State

WAITING = "waiting"
TARGET_STATES = (WAITING, "publishing", "published", "unpublishing")
LONGEST_ERROR = 4096


def check_report(state: State, command: ReportAttachments) -> Refusal | None:
    host = state.attachments.host(command.node_id)
    if host is None:
        return Refusal(404, f"node {short(command.node_id)} is none that manages its volumes: report it so first")
    known = command.work_index <= state.index
    if known and command.work_index < host.reported_index:
        return Refusal(409, f"a later report of node {host.id} came before: send another, of the present work")
    return None


def says_nothing_new(state: State, command: ReportAttachments) -> bool:
    """Whether the report would change nothing, so that it needs no entry of the log."""
    host = state.attachments.host(command.node_id)
    if host is None or check_report(state, command) is not None:
        return False
    rows = state.attachments.on_node(host.id)
    return (
        all(_reported(row, command, host, state.index) == row for row in rows) and _host(state, host, command) == host
    )


def take_report(state: State, command: ReportAttachments) -> Refusal | None:
    refusal, host = check_report(state, command), state.attachments.host(command.node_id)
    if refusal is not None or host is None:
        return refusal
    changes = ClaimChanges(state)
    for row in state.attachments.on_node(host.id):
        moved = _reported(row, command, host, state.index)
        if moved == row:
            continue
        left = {claim.allocation_id for claim in moved.claims}
        for claim in row.claims:
            volume = state.volume(claim.namespace, claim.volume_id)
            if claim.allocation_id not in left and volume is not None:
                changes.free(volume, claim.allocation_id, host.id)
        settle(state, moved)
    changes.put()
    moved_host = _host(state, state.attachments.hosts.rows[host.id], command)
    if command.work_index <= state.index:
        moved_host = replace(moved_host, reported_index=command.work_index)
    if len(moved_host.revoked) != len(host.revoked):
        moved_host = replace(moved_host, work_index=state.index)
    state.attachments.put_host(moved_host)
    return None


def _reported(row: Attachment, command: ReportAttachments, host: Host, index: int) -> Attachment:
    """The row as the report has it; the claims of which nothing is left are missing in it."""
    # Of an index that this registry hasn't reached the node knows from another one: nothing follows from what is gone.
    knows = command.work_index if command.work_index <= index else 0
    told = next((one for one in command.volumes if _names(one, row)), None)
    targets = {target.allocation_id: target for target in told.targets} if told is not None else {}
    claims: list[HostClaim] = []
    for claim in row.claims:
        target = targets.get(claim.allocation_id)
        there = target is not None and target.state != WAITING
        if not there and claim.released and claim.released <= knows:
            continue
        claims.append(
            replace(
                claim,
                reported=there,
                target_state=target.state if target is not None else "",
                error=target.error[:LONGEST_ERROR] if target is not None else "",
            )
        )
    moved = replace(row, claims=tuple(claims), staged=told is not None and told.staged)
    if not row.operation_id:
        moved = replace(moved, error=told.error[:LONGEST_ERROR] if told is not None else "")
    rebooted = host.boot_id and host.boot_id != command.boot_id
    if rebooted and row.state == ATTACHED and row.needs_attach and row.live:
        moved = replace(moved, state=ATTACHING, since=index)
    return moved


def _names(one: VolumeState, row: Attachment | RevokedVolume) -> bool:
    return (one.plugin_id, one.external_id) == (row.plugin_id, row.external_id)


def _host(state: State, host: Host, command: ReportAttachments) -> Host:
    knows = command.work_index if command.work_index <= state.index else 0
    there = {(one.plugin_id, one.external_id) for one in command.volumes if one.staged or _targets(one)}
    there |= {(one.plugin_id, one.external_id) for one in command.unexpected}
    revoked = tuple(note for note in host.revoked if (note.plugin_id, note.external_id) in there or note.index > knows)
    unexpected = (*command.unexpected, *_unlisted(state, host, command))[:LONGEST_UNEXPECTED]
    return replace(host, boot_id=command.boot_id, revoked=revoked, unexpected=unexpected)


def _targets(one: VolumeState) -> list[str]:
    return [target.allocation_id for target in one.targets if target.state != WAITING]


def _unlisted(state: State, host: Host, command: ReportAttachments) -> list[UnexpectedMount]:
    """Volumes that the node has and the registry doesn't know of, as after a backup was restored."""
    found = []
    known = {(one.plugin_id, one.external_id, one.allocation_id) for one in command.unexpected}
    for one in command.volumes:
        row = state.attachments.get((one.plugin_id, one.external_id, host.id))
        if any(_names(one, note) for note in host.revoked):
            continue
        claims = {claim.allocation_id for claim in row.claims} if row is not None else set()
        for item in [item for item in _targets(one) if item not in claims] or (
            [""] if row is None and one.staged else []
        ):
            # What the report itself ends is gone a moment later.
            if (one.plugin_id, one.external_id, item) not in known and row is None:
                found.append(UnexpectedMount("", one.plugin_id, one.external_id, item))
    return found
