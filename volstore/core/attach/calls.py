"""Controller calls: queued with what needs them, assigned at once where that can be, tried until they succeed.

All of it is decided in `apply`: one entry is an outcome and what follows from it. Of one plugin one call is assigned
at a time. An attempt belongs to its node until it was reported or its lease is over: nobody else makes a call for the
same volume before.
"""

from __future__ import annotations

from msgspec.structs import replace

from volstore.core.attach.commands import ReportOutcome
from volstore.core.attach.rows import (
    ASSIGNED,
    ATTACH,
    ATTACHED,
    ATTACHING,
    DETACH,
    DETACHING,
    LEAVING,
    QUEUED,
    Attachment,
    ControllerCall,
)
from volstore.core.rules import Refusal
from volstore.core.state import State

SECOND = 10**9
CALL_SECONDS = 120
"""For so long an agent lets a controller's call run."""
LEASE = (CALL_SECONDS + 30) * SECOND
CONFIRM_AFTER = 6 * SECOND
"""Log time between a detach that succeeded and the one that confirms it, where a call may still be carried out."""
DUE_AT_ONCE = 256
"""Calls that one move of log time sets going at most."""
_SHOWN = 1024
"""Characters of a driver's words that are kept."""

_BACKOFFS = {
    "NOT_SENT": (1, 30),
    "FAILED_PRECONDITION": (10, 300),
    "RESOURCE_EXHAUSTED": (10, 300),
    **dict.fromkeys(
        (
            "INVALID_ARGUMENT",
            "ALREADY_EXISTS",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "PERMISSION_DENIED",
            "UNAUTHENTICATED",
            "NOT_FOUND",
        ),
        (10, 300),
    ),
}
"""Seconds before the next attempt: the first, doubled up to the longest. What isn't here: see _UNKNOWN."""
_UNKNOWN = (1, 60)
_CERTAIN = frozenset(_BACKOFFS)
"""Codes after which a call isn't carried out any more."""


def settle(state: State, row: Attachment) -> None:
    """Put `row`, or what follows from it now, and set going what that needs."""
    attachments = state.attachments
    call = attachments.call(row.operation_id)
    if row.state in (ATTACHING, ATTACHED) and not row.live:
        row = replace(row, state=LEAVING, since=state.index)
    elif row.state == LEAVING and row.live:
        row = replace(row, state=ATTACHING if call is not None else ATTACHED, since=state.index)
    if row.state == LEAVING and not row.claims and not row.staged:
        row = replace(row, state=DETACHING, since=state.index)
    if row.state == DETACHING:
        _lose(state, row, call)
    elif row.state == ATTACHING and call is None:
        _queue(state, row, ATTACH)
    else:
        attachments.put(row, state.index)


def _lose(state: State, row: Attachment, call: ControllerCall | None) -> None:
    """Nothing of it is on the node any more, or the node is off."""
    attachments = state.attachments
    if call is not None and call.kind == ATTACH and call.state == QUEUED:
        attachments.remove_call(call.id, state.index)
        row, call = replace(row, operation_id=""), None
        if not row.was_attached and not row.doubt:
            row = replace(row, needs_attach=False)
    if call is not None:  # an attach that is being made ends first; a detach is what is needed
        attachments.put(row, state.index)
    elif row.needs_attach:
        _queue(state, row, DETACH)
    elif attachments.get(row.key) is not None:
        attachments.remove(row.key, state.index)


def _queue(state: State, row: Attachment, kind: str) -> None:
    attachments, number = state.attachments, 0
    while attachments.call(id := f"op-{state.index}-{number}") is not None:
        number += 1
    attachments.put(replace(row, operation_id=id), state.index)
    attachments.put_call(
        ControllerCall(id=id, kind=kind, plugin_id=row.plugin_id, external_id=row.external_id, node_id=row.node_id),
        state.index,
    )
    assign(state, row.plugin_id)


def assign(state: State, plugin_id: str) -> None:
    """Give the plugin's next call that is due to a node, unless one is being made, or no node can."""
    due: ControllerCall | None = None
    for call in state.attachments.calls_of(plugin_id):
        if call.state == ASSIGNED:
            return
        if due is None and call.not_before <= state.log_time:
            due = call
    executor = executor_of(state, plugin_id) if due is not None else None
    if due is None or executor is None:
        return
    state.attachments.put_call(
        replace(
            due,
            state=ASSIGNED,
            attempt=due.attempt + 1,
            executors=(*due.executors[-7:], executor),
            lease_until=state.counted_from + LEASE,
            not_before=0,
        ),
        state.index,
    )


def executor_of(state: State, plugin_id: str) -> str | None:
    """The first node by ID whose agent serves a healthy controller of the plugin."""
    for node_id, fingerprint in state.controller_instances(plugin_id):
        node, host, info = state.node(node_id), state.attachments.host(node_id), fingerprint.controller_info
        if node is None or node.status != "ready" or host is None or host.fenced:
            continue
        if fingerprint.healthy and info is not None and info.supports_attach_detach:
            return node_id
    return None


def attaches(state: State, plugin_id: str) -> bool:
    """Whether the plugin's volumes have to be attached to a node first, by the word of its controllers."""
    plugin = state.plugin_row(plugin_id)
    if plugin is not None and plugin.controller_required:
        return True
    return any(
        fingerprint.controller_info is not None and fingerprint.controller_info.supports_attach_detach
        for _, fingerprint in state.controller_instances(plugin_id)
    )


def check_outcome(state: State, command: ReportOutcome) -> Refusal | None:
    call = state.attachments.call(command.id)
    if call is None:
        return Refusal(409, f"operation {command.id} is over, or never was: drop its outcome")
    if not 1 <= command.attempt <= call.attempt:
        return Refusal(409, f"operation {call.id} has had no attempt {command.attempt}: it is at {call.attempt}")
    # An older attempt's success counts between two attempts; while one is being made, that one will tell.
    counts = command.attempt == call.attempt if call.state == ASSIGNED else _succeeded(call, command)
    if not counts:
        return Refusal(409, f"attempt {command.attempt} of operation {call.id} was superseded: drop its outcome")
    return None


def _succeeded(call: ControllerCall, command: ReportOutcome) -> bool:
    """A detach is asked for once the node has nothing left, or is off: then NOT_FOUND is as good as OK."""
    return command.code == "OK" or (call.kind == DETACH and command.code == "NOT_FOUND")


def take_outcome(state: State, command: ReportOutcome) -> Refusal | None:
    refusal = check_outcome(state, command)
    call = state.attachments.call(command.id)
    if refusal is not None or call is None:
        return refusal
    row = state.attachments.get(call.attachment_key)
    if row is None:
        raise ValueError("an operation's attachment is there as long as the operation is")
    if _succeeded(call, command):
        _succeed(state, call, row, command)
    else:
        _fail(state, call, row, command.code, command.message)
    assign(state, call.plugin_id)
    return None


def _succeed(state: State, call: ControllerCall, row: Attachment, command: ReportOutcome) -> None:
    attachments = state.attachments
    if call.kind == ATTACH:
        attachments.remove_call(call.id, state.index)
        row = replace(row, operation_id="", publish_context=command.publish_context, was_attached=True, error="")
        if row.state == ATTACHING:
            row = replace(row, state=ATTACHED, since=state.index)
        settle(state, row)
        return
    if row.doubt and not call.confirmed:
        attachments.put_call(
            replace(call, state=QUEUED, confirmed=True, failures=0, not_before=state.log_time + CONFIRM_AFTER),
            state.index,
        )
        return
    attachments.remove_call(call.id, state.index)
    attachments.remove(row.key, state.index)


def _fail(state: State, call: ControllerCall, row: Attachment, code: str, message: str) -> None:
    """To be tried again, or for an attach that nobody wants any more: to be undone."""
    attachments = state.attachments
    doubt = row.doubt or code not in _CERTAIN
    row = replace(row, doubt=doubt, error=_words(call, code, message))
    first, longest = _BACKOFFS.get(code, _UNKNOWN)
    failures = call.failures + 1
    pause = min(longest, first * 2 ** min(failures - 1, 30)) * SECOND
    attachments.put_call(
        replace(
            call,
            state=QUEUED,
            failures=failures,
            not_before=max(1, state.log_time + pause),
            confirmed=call.confirmed and code in _CERTAIN,
            code=code,
            error=message[:_SHOWN],
        ),
        state.index,
    )
    settle(state, row)


def _words(call: ControllerCall, code: str, message: str) -> str:
    verb = "attached to" if call.kind == ATTACH else "detached from"
    return f"can't be {verb} node {call.node_id} (try {call.attempt}, by node {call.executor}): {code}: {message}"[
        :_SHOWN
    ]


def follow_time(state: State) -> None:
    """Log time moved: end leases that are over, and set going what is due."""
    due = 0
    plugins: dict[str, None] = {}
    for call in list(state.attachments.calls):
        if due == DUE_AT_ONCE:
            break
        if call.state == ASSIGNED and call.lease_until <= state.log_time:
            row = state.attachments.get(call.attachment_key)
            if row is None:
                raise ValueError("an operation's attachment is there as long as the operation is")
            _fail(state, replace(call, failures=0), row, "UNKNOWN", "its node didn't say how it ended")
        elif call.state == QUEUED and 0 < call.not_before <= state.log_time:
            state.attachments.put_call(replace(call, not_before=0), state.index)
        else:
            continue
        due += 1
        plugins[call.plugin_id] = None
    for plugin_id in plugins:
        assign(state, plugin_id)


def follow_node(state: State, node_id: str) -> None:
    """A node reported, or its status changed: it may be able to make calls that wait."""
    node = state.node(node_id)
    if node is not None and state.attachments.host(node_id) is not None:
        for plugin_id in sorted(node.controller_plugins):
            assign(state, plugin_id)


def cancel(state: State, call: ControllerCall) -> None:
    """Take a detach for done."""
    state.attachments.remove_call(call.id, state.index)
    state.attachments.remove(call.attachment_key, state.index)
    assign(state, call.plugin_id)
