"""The state machine that is replicated: one committed command in, its outcome out, nothing else seen or done.

Every applied command moves the FSM's index by one: one that was refused too, and one whose Idempotency-Key was met
before, whose outcome is the remembered one. An applier checks all before it changes anything, so a refusal changes
nothing but the index and log time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from volstore.core import claims, commands, merging, rules
from volstore.core.acl import apply as acl_tables
from volstore.core.acl.check import check_caller
from volstore.core.commands import (
    AbandonRestore,
    AdoptRestore,
    AdvanceTime,
    BeginRestore,
    CommitRestore,
    DeleteNode,
    DeregisterVolume,
    Idempotency,
    Outcome,
    PutNode,
    RegisterVolumes,
    RestorePiece,
    SetNodeStatus,
    Stamped,
    SweepNode,
)
from volstore.core.events import Event
from volstore.core.idempotency import CAPACITY
from volstore.core.logtime import FORGOTTEN_BY_A_MOVE, MAX_STEP
from volstore.core.model import NOTHING, Node, Volume
from volstore.core.plugins import follow_node, release_plugin
from volstore.core.rebuilding import Rebuilding
from volstore.core.rules import Refusal
from volstore.core.snapshot import Captured
from volstore.core.state import State


class Fsm:
    """The state and the only way to change it (`cluster.api.StateMachine`).

    `state` is another object after `restore`, and once a backup was put on: ask for it each time.
    """

    def __init__(self) -> None:
        self.state = State()

    def apply(self, command: bytes) -> bytes:
        """Apply one committed command; its encoded `Outcome`.

        Raises commands.UnknownCommand, having changed nothing: the node must stop, it can't follow the others.
        """
        outcome = apply(self.state, commands.decode(command))
        if self.state.successor is not None:
            self.state = self.state.successor
        return commands.encode_outcome(outcome)

    def take_events(self) -> list[Event]:
        """What the commands applied since the last call touched, in order."""
        return self.state.take_events()

    def digest(self) -> bytes:
        """16 bytes that differ when states differ; O(1)."""
        return self.state.digest()

    def capture(self) -> Captured:
        return self.state.capture()

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Read what `Captured.chunks` gave, beside the present state; the returned function puts it in place.

        ValueError on anything else.
        """
        state = State.restored(chunks)

        def adopt() -> None:
            self.state = state

        return adopt

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by what `Captured.chunks` gave. ValueError on anything else, changing nothing."""
        self.load(chunks)()


def apply(state: State, stamped: Stamped) -> Outcome:
    """Move `state` by one command."""
    state.advance(stamped.time if type(stamped.command) is not AdvanceTime else 0)
    state.level = max(state.level, commands.level_of(stamped.command))
    state.outcomes.forget_expired(state.log_time)
    state.staging.forget_expired(state.log_time)
    forbidden = check_caller(state, stamped.caller, stamped.command)
    if forbidden is not None:
        return _refused(state, forbidden)
    key = stamped.idempotency
    if key is not None:
        remembered = state.outcomes.find(key, state.log_time)
        if remembered is not None:
            if remembered.request_hash == key.request_hash:
                return remembered.outcome
            return _refused(state, _key_of_another_request(key))
        if state.outcomes.full:
            return _refused(state, _TOO_MANY_KEYS)
    refusal = _APPLIERS[type(stamped.command)](state, stamped.command)
    outcome = Outcome(state.index) if refusal is None else _refused(state, refusal)
    if key is not None:
        state.outcomes.remember(key, state.counted_from, outcome)
    return outcome


def _refused(state: State, refusal: Refusal) -> Outcome:
    return Outcome(state.index, refusal.status, refusal.text)


_TOO_MANY_KEYS = Refusal(
    429, f"{CAPACITY} Idempotency-Keys are remembered, each for 10 minutes: repeat later, or send none"
)


def _key_of_another_request(key: Idempotency) -> Refusal:
    return Refusal(
        409,
        f'the Idempotency-Key "{key.key}" was used for another request, which cannot be updated by this one: use a new '
        "key",
    )


def _register_volumes(state: State, command: RegisterVolumes) -> Refusal | None:
    refusal = rules.check_register(state, command)
    if refusal is not None:
        return refusal
    for volume in command.volumes:
        state.put_volume(_registered(state, command.namespace, volume))
    return None


def _registered(state: State, namespace: str, volume: Volume) -> Volume:
    """The row of a volume that passed the rules: what the client may say, and nothing else that it said."""
    existing = state.volume(namespace, volume.id)
    plugin = state.plugin(volume.plugin_id)
    if plugin is None:
        raise ValueError("a volume is registered only with a plugin that is there")
    access_mode, attachment_mode, capabilities = rules.modes_and_capabilities(volume)
    return replace(
        volume,
        namespace=namespace,
        access_mode=access_mode,
        attachment_mode=attachment_mode,
        requested_capabilities=capabilities,
        provider=plugin.provider,
        provider_version=plugin.version,
        secrets=volume.secrets or NOTHING,
        parameters=volume.parameters or NOTHING,
        context=volume.context or NOTHING,
        read_claims=NOTHING,
        write_claims=NOTHING,
        past_claims=existing.past_claims if existing is not None else NOTHING,
        create_index=existing.create_index if existing is not None else state.index,
        modify_index=state.index,
        touch_index=state.index,
    )


def _deregister_volume(state: State, command: DeregisterVolume) -> Refusal | None:
    volume = state.volume(command.namespace, command.id)
    refusal = rules.check_deregister(state, command)
    if refusal is not None or volume is None:
        return refusal
    state.remove_volume(volume.namespace, volume.id)
    release_plugin(state, volume.plugin_id)
    return None


def _put_node(state: State, command: PutNode) -> Refusal | None:
    refusal = rules.check_put_node(state, command)
    if refusal is not None:
        return refusal
    old = state.node(command.node.id)
    # ModifyIndex moves with every report, also one that repeats the last: a 'down' that was proposed because the
    # node was silent must lose against it (SetNodeStatus.if_modify_index).
    _move_node(
        state,
        old,
        replace(
            rules.normalised_node(command.node),
            create_index=old.create_index if old is not None else state.index,
        ),
    )
    return None


def _set_node_status(state: State, command: SetNodeStatus) -> Refusal | None:
    refusal = rules.check_set_node_status(state, command)
    old = state.node(command.id)
    if refusal is not None or old is None:
        return refusal
    if old.status != command.status:
        _move_node(state, old, replace(old, status=command.status))
    return None


def _move_node(state: State, old: Node | None, new: Node) -> None:
    same_status = old is not None and old.status == new.status
    moved = replace(
        new,
        modify_index=state.index,
        status_updated_at=old.status_updated_at if old is not None and same_status else state.stamp // 10**9,
    )
    if not same_status and state.timers.measured:
        if new.status == "down":
            state.timers.node_down(new.id, state.counted_from)
        else:
            state.timers.node_up(new.id)
    state.put_node(moved)
    follow_node(state, old, moved)


def _delete_node(state: State, command: DeleteNode) -> Refusal | None:
    old = state.node(command.id)
    refusal = rules.check_delete_node(state, command)
    if refusal is not None or old is None:
        return refusal
    state.remove_node(command.id)
    follow_node(state, old, None)
    claims.release_node(state, command.id)
    return None


def _sweep_node(state: State, command: SweepNode) -> Refusal | None:
    refusal = rules.check_sweep_node(state, command)
    if refusal is not None:
        return refusal
    return _delete_node(state, DeleteNode(command.id))


def _advance_time(state: State, command: AdvanceTime) -> Refusal | None:
    if not state.timers.measured:
        state.timers.begin(state.log_time, command.wall)
        return None
    if command.base == state.log_time:
        state.log_time += min(max(command.elapsed, 0), MAX_STEP)
    state.outcomes.forget_expired(state.log_time, FORGOTTEN_BY_A_MOVE)
    state.access.remove_expired(state.log_time, state.index, FORGOTTEN_BY_A_MOVE)
    state.staging.forget_expired(state.log_time)
    return None


def _begin_restore(state: State, command: BeginRestore) -> Refusal | None:
    state.staging.begin(command, state.counted_from)
    return None


def _restore_piece(state: State, command: RestorePiece) -> Refusal | None:
    staging = state.staging
    before = len(staging.table)
    flaw = staging.add(command.id, command.number, command.data)
    if flaw is not None:
        return Refusal(409, flaw)
    if len(staging.table) > before:
        if command.number == 1:
            with contextlib.suppress(ValueError):  # the commit tells
                staging.rebuilding = Rebuilding(command.data)
        elif staging.rebuilding is not None:
            staging.rebuilding.feed(command.data)
    return None


def _commit_restore(state: State, command: CommitRestore | AdoptRestore) -> Refusal | None:
    pieces = state.staging.whole(command.id)
    if isinstance(pieces, str):
        return Refusal(409, pieces)
    try:
        rebuilding = state.staging.rebuilding
        backup = rebuilding.finish() if rebuilding is not None else State.restored(pieces)
    except ValueError as error:
        return Refusal(400, f"validation: the backup can't be restored: {error}")
    state.put_on(backup)
    return None


def _abandon_restore(state: State, command: AbandonRestore) -> Refusal | None:
    announced = state.staging.announced
    if announced is not None and announced.id == command.id:
        state.staging.clear()
    return None


_APPLIERS: dict[type, Callable[[State, Any], Refusal | None]] = {
    RegisterVolumes: _register_volumes,
    DeregisterVolume: _deregister_volume,
    PutNode: _put_node,
    SetNodeStatus: _set_node_status,
    DeleteNode: _delete_node,
    SweepNode: _sweep_node,
    AdvanceTime: _advance_time,
    BeginRestore: _begin_restore,
    RestorePiece: _restore_piece,
    CommitRestore: _commit_restore,
    AdoptRestore: _commit_restore,
    AbandonRestore: _abandon_restore,
    **claims.APPLIERS,
    **merging.APPLIERS,
    **acl_tables.APPLIERS,
}
