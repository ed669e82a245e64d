"""The endpoints of nodes whose agent manages their volumes: what it is to do, what it reports, fences and drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from volstore.core.acl.check import Rights
from volstore.core.attach.commands import (
    CancelOperation,
    DrainNode,
    FenceNode,
    ReportAttachments,
    ReportOutcome,
    TargetState,
    VolumeState,
)
from volstore.core.attach.reports import TARGET_STATES, says_nothing_new
from volstore.core.attach.rows import ATTACH, DETACHING, Attachment, ControllerCall, UnexpectedMount
from volstore.core.commands import Command, Outcome
from volstore.core.errors import ApiError
from volstore.core.logtime import MAX_STEP
from volstore.core.model import READ
from volstore.core.state import State
from volstore.http.endpoints.host_views import (
    AssignedView,
    AttachmentStatusView,
    Body,
    CallStatusView,
    FenceBody,
    HostAttachmentView,
    HostClaimView,
    HostReportBody,
    HostStatusView,
    OutcomeBody,
    ReportedView,
    RevokedView,
    TargetStatusView,
    UnexpectedBody,
    WorkView,
)
from volstore.http.endpoints.views import encode
from volstore.http.endpoints.volumes import no_body
from volstore.http.json.parameters import BLOCKING
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import printable
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.declaration import Absent, Question, Read, Write
from volstore.http.server.rights import Need
from volstore.http.server.watch import Topic, WorkTopic

MOST_VOLUMES = 10_000
"""Attachments in one report, and unexpected mounts."""
LONGEST = 4096
"""Bytes of an ID, path or error in a report; longer errors are cut."""
PUBLISH_CONTEXT_BYTES = 16 * 1024
"""Keys and values of an attach's publish_context together; CSI allows 4 KiB."""

_MISSING = "missing node ID"

_REPORT, _OUTCOME, _FENCE = Body(HostReportBody), Body(OutcomeBody), Body(FenceBody)


@dataclass(frozen=True, slots=True)
class ReadWork:
    """`now` is the loop's clock, in seconds; `log_now` log time as this node measures it."""

    node_id: str
    asked_at: float
    now: Callable[[], float]
    log_now: Callable[[], int]

    def topic(self, state: State) -> tuple[Topic, str]:
        return WorkTopic(self.node_id), ""

    def moved_since(self, state: State, index: int) -> bool:
        """An index of another registry's, which this one hasn't reached, is answered at once."""
        host = state.attachments.host(self.node_id)
        return host is None or host.work_index > index or index > state.index

    async def answer(self, state: State, contact: Contact) -> Reply:
        host = state.attachments.host(self.node_id)
        if host is None:
            raise Absent(f"node {printable(self.node_id)} is none that manages its volumes: report it so first")
        view = WorkView(
            index=max(state.index, 1),
            held_ns=round((self.now() - self.asked_at) * 1e9),
            attachments=[_attachment(state, row) for row in state.attachments.on_node(host.id)],
            operations=[_assigned(state, call, self.log_now()) for call in state.attachments.assigned_to(host.id)],
            revoked=[RevokedView(plugin_id=note.plugin_id, external_id=note.external_id) for note in host.revoked],
        )
        return Reply(json=Json(encode(view)), headers={"Cache-Control": "no-store"})


def _attachment(state: State, row: Attachment) -> HostAttachmentView:
    return HostAttachmentView(
        plugin_id=row.plugin_id,
        external_id=row.external_id,
        state=row.state,
        epoch=row.epoch,
        staged=row.staged,
        access_mode=row.access_mode,
        attachment_mode=row.attachment_mode,
        fs_type=row.fs_type,
        mount_flags=list(row.mount_flags),
        volume_context=row.volume_context,
        publish_context=row.publish_context,
        secrets=_secrets(state, row) if row.live and row.state != DETACHING else {},
        claims=[
            HostClaimView(
                allocation_id=claim.allocation_id,
                namespace=claim.namespace,
                volume_id=claim.volume_id,
                mode="read" if claim.mode == READ else "write",
                path=claim.path,
                released=bool(claim.released),
                reported=claim.reported,
                force=claim.force,
                job_id=claim.job_id,
            )
            for claim in row.claims
        ],
        error=row.error if row.operation_id else "",
    )


def _secrets(state: State, row: Attachment) -> dict[str, str]:
    """Those of the volume that it was attached for; two registered volumes may be one disk, and only one has them."""
    volume = state.volume(row.namespace, row.volume_id)
    return volume.secrets if volume is not None else {}


def _assigned(state: State, call: ControllerCall, log_now: int) -> AssignedView:
    row = state.attachments.get(call.attachment_key)
    args: dict[str, object] = {"volume_id": call.external_id}
    secrets: dict[str, str] = {}
    if row is not None:
        args["node_id"] = row.external_node_id
        secrets = _secrets(state, row)
        if call.kind == ATTACH:
            args |= {
                "volume_capability": _capability(row),
                "readonly": False,
                "volume_context": row.volume_context,
            }
    return AssignedView(
        id=call.id,
        attempt=call.attempt,
        kind=call.kind,
        plugin_id=call.plugin_id,
        # This node may be behind in log time by a move that it hasn't applied.
        lease_ns=max(0, call.lease_until - MAX_STEP - log_now),
        args=args,
        secrets=secrets,
    )


def _capability(row: Attachment) -> dict[str, object]:
    """CSI's VolumeCapability."""
    mode = {"mode": row.access_mode.upper().replace("-", "_")}
    if row.attachment_mode == "block-device":
        return {"block": {}, "access_mode": mode}
    mount: dict[str, object] = {}
    if row.fs_type:
        mount["fs_type"] = row.fs_type
    if row.mount_flags:
        mount["mount_flags"] = list(row.mount_flags)
    return {"mount": mount, "access_mode": mode}


@dataclass(frozen=True, slots=True)
class ReadHost:
    node_id: str

    def topic(self, state: State) -> tuple[Topic, str]:
        return WorkTopic(self.node_id), ""

    def moved_since(self, state: State, index: int) -> bool:
        host = state.attachments.host(self.node_id)
        return host is None or host.work_index > index

    async def answer(self, state: State, contact: Contact) -> Reply:
        host = state.attachments.host(self.node_id)
        if host is None:
            raise Absent(f"node {printable(self.node_id)} is none that manages its volumes")
        view = HostStatusView(
            node_id=host.id,
            fenced=host.fenced,
            reason=host.reason,
            draining=host.draining,
            attachments=[_status(row) for row in state.attachments.on_node(host.id)],
            operations=[
                CallStatusView(
                    id=call.id,
                    kind=call.kind,
                    plugin_id=call.plugin_id,
                    external_id=call.external_id,
                    node_id=call.node_id,
                    state=call.state,
                    attempt=call.attempt,
                    executor=call.executor,
                    code=call.code,
                    error=call.error,
                )
                for call in state.attachments.calls
                if host.id in (call.node_id, call.executor)
            ],
            revoked=[RevokedView(plugin_id=note.plugin_id, external_id=note.external_id) for note in host.revoked],
            unexpected=[
                UnexpectedBody(
                    path=one.path,
                    plugin_id=one.plugin_id,
                    external_id=one.external_id,
                    allocation_id=one.allocation_id,
                )
                for one in host.unexpected
            ],
        )
        return Reply(json=Json(encode(view)))


def _status(row: Attachment) -> AttachmentStatusView:
    return AttachmentStatusView(
        plugin_id=row.plugin_id,
        external_id=row.external_id,
        state=row.state,
        staged=row.staged,
        error=row.error,
        claims=[
            TargetStatusView(
                allocation_id=claim.allocation_id,
                namespace=claim.namespace,
                volume_id=claim.volume_id,
                mode="read" if claim.mode == READ else "write",
                path=claim.path,
                released=bool(claim.released),
                state=claim.target_state,
                error=claim.error,
            )
            for claim in row.claims
        ],
    )


def _work(call: Call) -> Question:
    now = asyncio.get_running_loop().time
    return ReadWork(call.path_id(_MISSING), now(), now, call.service.registry.log_now)


def _host(call: Call) -> Question:
    return ReadHost(call.path_id(_MISSING))


def _report(call: Call) -> Command:
    told = _REPORT.of(call.body)
    if len(told.attachments) > MOST_VOLUMES or len(told.unexpected) > MOST_VOLUMES:
        raise ApiError(400, f"validation: at most {MOST_VOLUMES} attachments and unexpected mounts are taken")
    volumes = []
    for one in told.attachments:
        for target in one.targets:
            if target.state not in TARGET_STATES:
                raise ApiError(
                    400,
                    f'validation: unknown target state "{printable(target.state, 64)}", one of: '
                    f"{', '.join(TARGET_STATES)}",
                )
        targets = tuple(TargetState(_id(t.allocation_id), t.state, t.error[:LONGEST]) for t in one.targets)
        volumes.append(VolumeState(_id(one.plugin_id), _id(one.external_id), one.staged, targets, one.error[:LONGEST]))
    unexpected = tuple(
        UnexpectedMount(_id(one.path), _id(one.plugin_id), _id(one.external_id), _id(one.allocation_id))
        for one in told.unexpected
    )
    return ReportAttachments(call.path_id(_MISSING), _id(told.boot_id), told.work_index, tuple(volumes), unexpected)


def _id(text: str) -> str:
    if len(text.encode(errors="surrogatepass")) > LONGEST:
        raise ApiError(400, f"validation: an ID or path has more than {LONGEST} bytes")
    return text


def _unchanged(state: State, command: Command) -> bool:
    return isinstance(command, ReportAttachments) and says_nothing_new(state, command)


def _reported(call: Call, command: Command, outcome: Outcome) -> Json:
    return Json(encode(ReportedView(index=outcome.index)))


def _outcome(call: Call) -> Command:
    told = _OUTCOME.of(call.body)
    context = told.result.get("publish_context") or {}
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise ApiError(400, "validation: Result.publish_context: expected an object of strings")
    if sum(len(key) + len(value) for key, value in context.items()) > PUBLISH_CONTEXT_BYTES:
        raise ApiError(400, f"validation: Result.publish_context has more than {PUBLISH_CONTEXT_BYTES} bytes")
    return ReportOutcome(
        call.path_id("missing operation ID"), told.attempt, told.code[:64], told.message[:LONGEST], context
    )


def _fence(call: Call) -> Command:
    told = _FENCE.of(call.body or b"{}")
    return FenceNode(call.path_id(_MISSING), True, told.reason, told.force)


def _unfence(call: Call) -> Command:
    return FenceNode(call.path_id(_MISSING), False)


def _drain(call: Call) -> Command:
    return DrainNode(call.path_id(_MISSING), True)


def _undrain(call: Call) -> Command:
    return DrainNode(call.path_id(_MISSING), False)


def _cancel(call: Call) -> Command:
    return CancelOperation(call.path_id("missing operation ID"))


def _own(call: Call, state: State, rights: Rights) -> bool:
    """It holds secrets: for the node itself alone."""
    node = state.node(call.ids[0])
    return node is not None and bool(node.secret_hash) and node.secret_hash == rights.node_secret_hash


def _some_node(call: Call, state: State, rights: Rights) -> bool:
    return bool(rights.node_secret_hash)


WORK = Read(
    name="readNodeWork",
    need=_own,
    summary="What a node's agent is to do; a blocking query, for that node alone",
    answer=WorkView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_work,
)
STATUS = Read(
    name="readNodeVolumes",
    need=Need(area=("node", "read")),
    summary="What a node whose agent manages its volumes has",
    answer=HostStatusView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_host,
)
REPORT = Write(
    name="reportAttachments",
    before_body=_some_node,
    straight=True,
    summary="Say all that a node has of its volumes",
    answer=ReportedView,
    statuses=(404,),
    body=_REPORT,
    command=_report,
    unchanged=_unchanged,
    render=_reported,
)
OUTCOME = Write(
    name="reportOutcome",
    before_body=_some_node,
    summary="Say how an operation's attempt ended",
    answer=ReportedView,
    body=_OUTCOME,
    command=_outcome,
    render=_reported,
)
FENCE = Write(
    name="fenceNode",
    summary="Declare that a node's host is off",
    statuses=(404,),
    body=_FENCE,
    command=_fence,
    render=no_body,
)
UNFENCE = Write(
    name="unfenceNode", summary="Let a node have volumes again", statuses=(404,), command=_unfence, render=no_body
)
DRAIN = Write(
    name="drainNode",
    summary="Release all volumes of a node, and let it take none",
    statuses=(404,),
    command=_drain,
    render=no_body,
)
UNDRAIN = Write(
    name="undrainNode", summary="Let a node take volumes again", statuses=(404,), command=_undrain, render=no_body
)
CANCEL = Write(
    name="cancelOperation",
    summary="Take a detach that doesn't succeed for done",
    statuses=(404,),
    command=_cancel,
    render=no_body,
)
