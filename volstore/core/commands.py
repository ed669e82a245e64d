"""What can be asked of the state machine, as versioned msgpack: each command is one entry of the log.

A command carries all that `apply` needs: time and random values are stamped by whoever proposes it. Its first byte
is the feature level that it needs (levels.py); a node that meets a higher one than its own, or a kind it doesn't
know, must stop (`UnknownCommand`): skipping it would make its state differ from the others'.
"""

from __future__ import annotations

import msgspec

from volstore.core.acl.commands import (
    AclCommand,
    BootstrapAcl,
    Caller,
    DeleteAclPolicy,
    DeleteAclToken,
    DeleteNamespace,
    PutAclPolicy,
    PutAclToken,
    PutNamespace,
)
from volstore.core.acl.rights import level_of_rules
from volstore.core.frozen import Frozen
from volstore.core.levels import LEVEL
from volstore.core.model import RELEASE, TAKEN, Allocation, Node, Volume
from volstore.core.snapshot import level_of as level_of_state


class UnknownCommand(Exception):
    """A command from a newer version; the node that meets it stops rather than diverge."""


class RegisterVolumes(Frozen, frozen=True, tag="register-volumes"):
    """Register all of `volumes` (unchecked, computed fields empty) in `namespace`, or none."""

    namespace: str
    volumes: tuple[Volume, ...]


class MergeVolumes(Frozen, frozen=True, tag="merge-volumes"):
    """Register all of `volumes` (unchecked, computed fields empty), each in its own namespace, or none; what is there
    already takes what is given, and keeps what isn't (merging.py)."""

    volumes: tuple[Volume, ...]


class DeregisterVolume(Frozen, frozen=True, tag="deregister-volume"):
    namespace: str
    id: str
    force: bool = False


class PutNode(Frozen, frozen=True, tag="put-node"):
    """Replace what a node reported before by `node` (computed fields empty)."""

    node: Node


class SetNodeStatus(Frozen, frozen=True, tag="set-node-status"):
    """`if_modify_index` > 0: only while the node is still at that ModifyIndex, else refused."""

    id: str
    status: str
    if_modify_index: int = 0


class DeleteNode(Frozen, frozen=True, tag="delete-node"):
    """Remove a node, its plugin instances, and the claims held on it. `if_modify_index` as for SetNodeStatus."""

    id: str
    if_modify_index: int = 0


class PutAllocations(Frozen, frozen=True, tag="put-allocations"):
    """Take all of `allocations` as they were reported (computed fields empty), or none."""

    allocations: tuple[Allocation, ...]


class DeleteAllocation(Frozen, frozen=True, tag="delete-allocation"):
    """Forget an allocation; its claims stay, as of one that vanished."""

    id: str


class ClaimVolume(Frozen, frozen=True, tag="claim-volume"):
    """`mode` and `state` as in model.Claim. `node_id` empty: the allocation's."""

    namespace: str
    id: str
    allocation_id: str
    mode: int
    state: int = 0
    node_id: str = ""


class TakeClaim(Frozen, frozen=True, tag="take-claim"):
    """Claim a volume for an allocation of its own namespace. `mode` as in model.Claim: read or write. `node_id` empty:
    the allocation's; `access_mode` and `attachment_mode` empty: one in which the volume is or may be used."""

    namespace: str
    id: str
    allocation_id: str
    mode: int
    node_id: str = ""
    access_mode: str = ""
    attachment_mode: str = ""


class ReleaseClaim(Frozen, frozen=True, tag="release-claim"):
    """Release a claim that is held, or note how far its unmounting has come (`state` as in model.Claim). `node_id`
    empty: the claim's."""

    namespace: str
    id: str
    allocation_id: str
    state: int
    node_id: str = ""


class ReportAllocations(Frozen, frozen=True, tag="report-allocations"):
    """Take `allocations` as they were reported, but for those that contradict what they hold; a node's secret reports
    only those that were placed on that node before."""

    allocations: tuple[Allocation, ...]


class DetachVolume(Frozen, frozen=True, tag="detach-volume"):
    """Release what is claimed on a node where nothing that claims it runs any more."""

    namespace: str
    id: str
    node_id: str


class ClaimKey(Frozen, frozen=True):
    """One allocation's claims on one volume, and the node where they were found."""

    namespace: str
    volume_id: str
    allocation_id: str
    node_id: str


class SweepClaims(Frozen, frozen=True, tag="sweep-claims"):
    """Release those of `claims` whose node is gone and whose allocation has ended or is gone; others stay."""

    claims: tuple[ClaimKey, ...]


class FreeClaims(Frozen, frozen=True, tag="free-claims"):
    """As SweepClaims, and those whose allocation is gone, whether their node is there or not."""

    claims: tuple[ClaimKey, ...]


class SweepNode(Frozen, frozen=True, tag="sweep-node"):
    """Remove a node, as DeleteNode does, if it has been down for `down_for` nanoseconds of log time, else refused.

    `running`: also where a claim on it is of an allocation that hasn't ended; its claims are released, too.
    """

    id: str
    if_modify_index: int
    down_for: int
    running: bool = False


class AdvanceTime(Frozen, frozen=True, tag="advance-time"):
    """Move log time by `elapsed` nanoseconds, which were measured since it was `base` (logtime.py).

    The first one moves nothing, and begins the measured time; `wall` is what the leader's wall clock shows then, in
    nanoseconds since 1970.
    """

    base: int
    elapsed: int
    wall: int = 0


class BeginRestore(Frozen, frozen=True, tag="begin-restore"):
    """Announce a backup that comes in pieces: `size` bytes of state, and their SHA-256."""

    id: str
    size: int
    digest: bytes


class RestorePiece(Frozen, frozen=True, tag="restore-piece"):
    """The next piece, numbered from 1, of at most RESTORE_PIECE_BYTES."""

    id: str
    number: int
    data: bytes

    def __repr__(self) -> str:
        """A backup holds secrets."""
        return f"RestorePiece({self.id}, {self.number})"


class CommitRestore(Frozen, frozen=True, tag="commit-restore"):
    """Put the backup on whose pieces came, or change nothing."""

    id: str


class AdoptRestore(Frozen, frozen=True, tag="adopt-restore"):
    """As CommitRestore; management's alone."""

    id: str


class AbandonRestore(Frozen, frozen=True, tag="abandon-restore"):
    """Drop the pieces that came."""

    id: str


RESTORE_PIECE_BYTES = 128 * 1024
"""Applying one piece takes some 15 ms, as its rows are loaded at once."""

Command = (
    RegisterVolumes
    | DeregisterVolume
    | PutNode
    | SetNodeStatus
    | DeleteNode
    | PutAllocations
    | DeleteAllocation
    | ClaimVolume
    | DetachVolume
    | SweepClaims
    | SweepNode
    | AdvanceTime
    | BeginRestore
    | RestorePiece
    | CommitRestore
    | AbandonRestore
    | TakeClaim
    | ReleaseClaim
    | ReportAllocations
    | AdoptRestore
    | MergeVolumes
    | FreeClaims
    | AclCommand
)

CAME_AT: dict[type, int] = {
    RegisterVolumes: 1,
    DeregisterVolume: 1,
    PutNode: 1,
    SetNodeStatus: 1,
    DeleteNode: 1,
    PutAllocations: 1,
    DeleteAllocation: 1,
    ClaimVolume: 1,
    DetachVolume: 1,
    SweepClaims: 1,
    BeginRestore: 1,
    RestorePiece: 1,
    CommitRestore: 1,
    AbandonRestore: 1,
    BootstrapAcl: 1,
    PutAclPolicy: 1,
    DeleteAclPolicy: 1,
    PutAclToken: 1,
    DeleteAclToken: 1,
    PutNamespace: 1,
    DeleteNamespace: 1,
    TakeClaim: 2,
    ReleaseClaim: 2,
    ReportAllocations: 2,
    AdoptRestore: 2,
    SweepNode: 2,
    AdvanceTime: 2,
    MergeVolumes: 2,
    FreeClaims: 2,
}
"""The level with which each kind came. It is proposed only where every member knows that level."""


def level_of(command: Command) -> int:
    """The level that a member needs in order to apply `command`; of a backup's first piece, also to read the backup,
    and of a policy, to know what it grants."""
    level = CAME_AT[type(command)]
    if type(command) is RestorePiece and command.number == 1:
        return max(level, level_of_state(command.data))
    if type(command) is PutAclPolicy:
        return max(level, level_of_rules(command.rules))
    return level


def taking(command: TakeClaim) -> ClaimVolume:
    """As level 1 says it."""
    return ClaimVolume(command.namespace, command.id, command.allocation_id, command.mode, TAKEN, command.node_id)


def releasing(command: ReleaseClaim) -> ClaimVolume:
    """As level 1 says it."""
    return ClaimVolume(command.namespace, command.id, command.allocation_id, RELEASE, command.state, command.node_id)


def for_level_one(command: Command) -> Command | None:
    """What does the same, though it is less strict, while a member is still at level 1; None where nothing does."""
    match command:
        case TakeClaim():
            return taking(command)
        case ReleaseClaim():
            return releasing(command)
        case ReportAllocations():
            return PutAllocations(command.allocations)
        case MergeVolumes(volumes) if len(namespaces := {volume.namespace for volume in volumes}) == 1:
            return RegisterVolumes(namespaces.pop(), volumes)
        case AdoptRestore():
            return CommitRestore(command.id)
        case _:
            return None


class Idempotency(Frozen, frozen=True):
    """A client's Idempotency-Key: the caller it belongs to and the SHA-256 of the request that it stands for."""

    caller: str
    key: str
    request_hash: bytes


class Stamped(Frozen, frozen=True):
    """A command as it travels: with the proposer's wall clock, in nanoseconds since 1970, and who asked for it.

    The time is for what users see as dates (`State.stamp`); it moves log time only before the measured time began.
    """

    time: int
    command: Command
    idempotency: Idempotency | None = None
    caller: Caller | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stamped)


def encode(stamped: Stamped) -> bytes:
    return bytes((level_of(stamped.command),)) + _encoder.encode(stamped)


def decode(data: bytes) -> Stamped:
    """Raises UnknownCommand for a higher level, an unknown kind, or bytes that aren't a command at all."""
    if not data or not 1 <= data[0] <= LEVEL:
        raise UnknownCommand(
            f"a command of the log needs feature level {data[0] if data else 'none'}, and this version of volstore "
            f"is at {LEVEL}: a newer member wrote it; upgrade this node"
        )
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownCommand(f"a command of the log can't be read by this version of volstore: {error}") from None


class Outcome(Frozen, frozen=True):
    """What became of a command: the FSM's index, and the refusal if it was refused.

    `status` is HTTP's (200 applied), and `text` the refusal's words (never a secret); of one that was applied in part,
    what wasn't (`rules.refused_parts`).
    """

    index: int
    status: int = 200
    text: str = ""


_outcome_decoder = msgspec.msgpack.Decoder(Outcome)


def encode_outcome(outcome: Outcome) -> bytes:
    return _encoder.encode(outcome)


def decode_outcome(data: bytes) -> Outcome:
    return _outcome_decoder.decode(data)
