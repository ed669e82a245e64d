"""Taking a claim: which mode the volume is used in by it, and whether there is room for one more.

A volume that nobody holds is open in all its capabilities. The first claim fixes one of them, which holds until the
last claim is gone (`Volume.in_use`). A claim may name the modes that it wants; otherwise it takes the one in use, or
the first capability in which it can do what it asks.
"""

from __future__ import annotations

from volstore.core.claim_counts import size
from volstore.core.claim_rules import (
    READER_ONLY_MODES,
    SINGLE_WRITER,
    claim_form_refusal,
    health_refusal,
    node_refusal,
    other_job_refusal,
    other_node_refusal,
    other_writer_refusal,
    terminal_refusal,
    unknown_allocation,
)
from volstore.core.commands import TakeClaim, taking
from volstore.core.holders import claims_of, holders
from volstore.core.model import (
    ACCESS_MODES_TODAY,
    ATTACHMENT_MODES,
    READ,
    RELEASE,
    WRITE,
    Allocation,
    Capability,
    Volume,
)
from volstore.core.rules import Refusal, quoted, short
from volstore.core.state import State

_ONE_WRITER = ("multi-node-single-writer", SINGLE_WRITER)
_WRITERS_OF_ANY_JOB = ("multi-node-multi-writer", "single-node-multi-writer")


def check_take(state: State, command: TakeClaim) -> Refusal | None:
    """The allocation must be of the volume's namespace: rights end with that."""
    if command.mode == RELEASE:
        return Refusal(400, "validation: a claim is taken to read (0) or to write (1)")
    refusal = claim_form_refusal(taking(command)) or _modes_refusal(command)
    if refusal is not None:
        return refusal
    volume = state.volume(command.namespace, command.id)
    if volume is None:
        return Refusal(404, f"volume not found: {short(command.id)}")
    allocation = state.allocation(command.allocation_id)
    if allocation is None or allocation.namespace != command.namespace:
        return unknown_allocation(command)
    refusal = node_refusal(taking(command), allocation.node_id) or terminal_refusal(allocation)
    if refusal is not None:
        return refusal
    used = mode_of_use(state, volume, command)
    if isinstance(used, Refusal):
        return used
    refusal = other_node_refusal(state, volume, used.access_mode, allocation)
    if refusal is not None or holds(volume, command):
        return refusal
    return health_refusal(state, volume) or (
        _writers_refusal(state, volume, used.access_mode, allocation) if command.mode == WRITE else None
    )


def holds(volume: Volume, command: TakeClaim) -> bool:
    """Whether the allocation has just the claim that it asks for."""
    return command.allocation_id in (volume.read_claims if command.mode == READ else volume.write_claims)


def mode_of_use(state: State, volume: Volume, command: TakeClaim) -> Capability | Refusal:
    """The mode in which the volume is used once the claim is taken. For a claim whose form is good."""
    wanted = Capability(command.access_mode, command.attachment_mode)
    own = sum(1 for _ in claims_of(volume, command.allocation_id))
    if size(volume) > own or holds(volume, command):
        used = Capability(volume.access_mode, volume.attachment_mode)
        return used if _fits(used, wanted) else _used_otherwise(state, volume, used, wanted)
    possible = [capability for capability in volume.requested_capabilities if _fits(capability, wanted)]
    if not possible:
        known = ", ".join(map(_words, volume.requested_capabilities))
        return Refusal(409, f"unschedulable: the volume can't be used as {_words(wanted)}, only as one of: {known}")
    for capability in possible:
        if command.mode == READ or capability.access_mode not in READER_ONLY_MODES:
            return capability
    modes = list(dict.fromkeys(capability.access_mode for capability in possible))
    if len(modes) == 1:
        return Refusal(409, f"unschedulable: access mode {modes[0]} takes no writers")
    return Refusal(409, f"unschedulable: access modes {', '.join(modes)} take no writers")


def _fits(capability: Capability, wanted: Capability) -> bool:
    return wanted.access_mode in ("", capability.access_mode) and wanted.attachment_mode in (
        "",
        capability.attachment_mode,
    )


def _words(capability: Capability) -> str:
    return " ".join(mode for mode in (capability.access_mode, capability.attachment_mode) if mode)


def _used_otherwise(state: State, volume: Volume, used: Capability, wanted: Capability) -> Refusal:
    if wanted.attachment_mode not in ("", used.attachment_mode):
        text = "cannot change attachment mode of claimed volume"
    else:
        text = "volume max claim reached"
    return Refusal(
        409,
        f"{text}: it is used as {_words(used)}, not as {_words(wanted)}, until its last claim is released: claimed by "
        f"{holders(state, volume)}",
    )


def _modes_refusal(command: TakeClaim) -> Refusal | None:
    for kind, mode, known in (
        ("access", command.access_mode, ACCESS_MODES_TODAY[:-1]),
        ("attachment", command.attachment_mode, ATTACHMENT_MODES),
    ):
        if mode and mode not in known:
            return Refusal(400, f"validation: unknown {kind} mode {quoted(mode)}, one of: {', '.join(known)}")
    return None


def _writers_refusal(state: State, volume: Volume, access_mode: str, allocation: Allocation) -> Refusal | None:
    if access_mode in READER_ONLY_MODES:
        return Refusal(409, f"unschedulable: access mode {access_mode} takes no writers")
    if access_mode in _WRITERS_OF_ANY_JOB:
        return None
    if access_mode in _ONE_WRITER:
        return other_writer_refusal(state, volume, access_mode, allocation)
    return other_job_refusal(state, volume, access_mode, allocation)
