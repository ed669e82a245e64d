"""The claims' endpoints: claim and release a volume, and detach it from a node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from volstore.core.acl.check import MOUNT, Rights, sees_allocation
from volstore.core.claim_rules import foreseen_refusal, is_held, nothing_to_detach
from volstore.core.commands import Command, DetachVolume, Outcome, ReleaseClaim, TakeClaim
from volstore.core.errors import ApiError
from volstore.core.model import READY_TO_FREE, RELEASE, TAKEN
from volstore.core.state import State
from volstore.http.endpoints.render import Sees, claimed_volume_view, nobody
from volstore.http.endpoints.views import ClaimedVolumeView, encode
from volstore.http.endpoints.volume_body import IDENTIFIER, NAME
from volstore.http.endpoints.volumes import MISSING_ID, no_body
from volstore.http.json.reader import read_json
from volstore.http.json.replies import Json
from volstore.http.json.shape import Integer, Misshapen, Nullable, Object, expected, printable
from volstore.http.server.call import Call
from volstore.http.server.caller import Denied
from volstore.http.server.declaration import Write

MODES = ("read", "write", "release")


class ModeKind:
    """`read`, `write` or `release`, or the number that Go's clients send for it."""

    def read(self, value: object) -> int:
        if isinstance(value, str) and value in MODES:
            return MODES.index(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(MODES):
            return value
        if isinstance(value, str):
            raise Misshapen(f'unknown claim mode "{printable(value, 64)}", one of: {", ".join(MODES)}')
        raise Misshapen(f"unknown claim mode {value}") if isinstance(value, int) else expected("a claim mode", value)

    def schema(self) -> dict[str, Any]:
        return {"enum": [*MODES, *range(len(MODES))]}


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """`mode` None: it wasn't given. `access_mode` and `attachment_mode`: in which the volume is to be used."""

    allocation_id: str = ""
    node_id: str = ""
    mode: int | None = None
    state: int | None = None
    access_mode: str = ""
    attachment_mode: str = ""


class _RequestKind(Object[ClaimRequest]):
    __slots__ = ()

    def schema(self) -> dict[str, Any]:
        return {**Object.schema(self), "type": "object", "required": ["AllocationID", "Mode"]}


REQUEST = _RequestKind(
    ClaimRequest,
    {
        "AllocationID": ("allocation_id", IDENTIFIER),
        "NodeID": ("node_id", IDENTIFIER),
        "Mode": ("mode", ModeKind()),
        "State": ("state", Nullable(Integer(minimum=TAKEN, maximum=READY_TO_FREE))),
        "AccessMode": ("access_mode", NAME),
        "AttachmentMode": ("attachment_mode", NAME),
    },
)


def _claim(call: Call) -> Command:
    asked = read_json(call.body, REQUEST)
    if asked.mode is None:
        raise ApiError(400, f"validation: missing claim mode, one of: {', '.join(MODES)}")
    namespace, id, state = call.query.namespace, call.path_id(MISSING_ID), asked.state
    if asked.mode == RELEASE:
        return ReleaseClaim(
            namespace, id, asked.allocation_id, READY_TO_FREE if state is None else state, asked.node_id
        )
    if state not in (None, TAKEN):
        raise ApiError(400, f"validation: claim state {state} is for releases: a claim begins as 0 (taken)")
    return TakeClaim(
        namespace, id, asked.allocation_id, asked.mode, asked.node_id, asked.access_mode, asked.attachment_mode
    )


def _claimed(call: Call, command: Command, outcome: Outcome) -> Json:
    """The volume as read, and for a claim that is held now (also after a repeat under an Idempotency-Key), with what a
    node needs to mount it: who may claim may mount."""
    if not isinstance(command, TakeClaim | ReleaseClaim):
        raise TypeError(f"{type(command).__name__} is no claim")
    state = call.service.registry.state
    volume = state.volume(command.namespace, command.id)
    if volume is None:  # somebody else has removed it meanwhile
        raise ApiError(404, f"volume not found: {printable(command.id)}")
    plugin = state.plugin_row(volume.plugin_id)
    try:
        sees: Sees = partial(sees_allocation, state, call.caller.rights(state))
    except Denied:  # the token went after the claim was done: to refuse it now would be no answer to what is done
        sees = nobody
    view = claimed_volume_view(
        state,
        volume,
        plugin,
        command.allocation_id,
        sees,
        held=isinstance(command, TakeClaim) and is_held(volume, command),
    )
    return Json(encode(view))


def _detach(call: Call) -> Command:
    node_id = call.query.text("node")
    if not node_id:
        raise ApiError(400, "detach requires node ID")
    return DetachVolume(call.query.namespace, call.path_id(MISSING_ID), node_id)


def _may_claim(call: Call, state: State, rights: Rights) -> bool:
    if rights.node_secret_hash:
        return True
    return rights.acl.allows(MOUNT, call.query.namespace) and rights.acl.allows_area("plugin", "read")


CLAIM = Write(
    name="claimVolume",
    before_body=_may_claim,
    summary="Claim a volume for an allocation, or release it",
    answer=ClaimedVolumeView,
    parameters=("namespace",),
    statuses=(404,),
    body=REQUEST,
    command=_claim,
    foresee=foreseen_refusal,
    render=_claimed,
)
DETACH = Write(
    name="detachVolume",
    summary="Release what is claimed on a node where nothing that claims it runs",
    parameters=("namespace", "node"),
    statuses=(404,),
    command=_detach,
    foresee=nothing_to_detach,
    render=no_body,
)
