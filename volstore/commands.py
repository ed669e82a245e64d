"""What can be asked of the state machine, as versioned msgpack: each command is one entry of the log.

A command carries all that `apply` needs: time and random values are stamped by whoever proposes it. Its first byte
is the format's version; a node that meets a newer one, or a kind it doesn't know, must stop (`UnknownCommand`):
skipping it would make its state differ from the others'.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from volstore.model import Node, Volume

VERSION = 1


class UnknownCommand(Exception):
    """A command from a newer version; the node that meets it stops rather than diverge."""


class RegisterVolumes(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="register-volumes"):
    """Register all of `volumes` (unchecked, computed fields empty) in `namespace`, or none."""

    namespace: str
    volumes: tuple[Volume, ...]


class DeregisterVolume(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="deregister-volume"):
    namespace: str
    id: str
    force: bool = False


class PutNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="put-node"):
    """Replace what a node reported before by `node` (computed fields empty)."""

    node: Node


class SetNodeStatus(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="set-node-status"):
    """`if_modify_index` > 0: only while the node is still at that ModifyIndex, else refused."""

    id: str
    status: str
    if_modify_index: int = 0


class DeleteNode(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="delete-node"):
    id: str


Command = RegisterVolumes | DeregisterVolume | PutNode | SetNodeStatus | DeleteNode


class Idempotency(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A client's Idempotency-Key: the caller it belongs to and the SHA-256 of the request that it stands for."""

    caller: str
    key: str
    request_hash: bytes


class Stamped(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A command as it travels: with the proposer's time, in nanoseconds since 1970."""

    time: int
    command: Command
    idempotency: Idempotency | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stamped)
_PREFIX = bytes([VERSION])


def encode(stamped: Stamped) -> bytes:
    return _PREFIX + _encoder.encode(stamped)


def decode(data: bytes) -> Stamped:
    """Raises UnknownCommand for a newer version, an unknown kind, or bytes that aren't a command at all."""
    if not data or data[0] != VERSION:
        raise UnknownCommand(
            f"command format {data[0] if data else 'none'} is not known to this version of volstore (it knows "
            f"{VERSION}): a newer member wrote it; upgrade this node"
        )
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownCommand(f"a command of the log can't be read by this version of volstore: {error}") from None


class Outcome(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What became of a command: the FSM's index, and the refusal if it was refused.

    `status` is HTTP's (200 applied), and `text` the refusal's words (never a secret).
    """

    index: int
    status: int = 200
    text: str = ""


_outcome_decoder = msgspec.msgpack.Decoder(Outcome)


def encode_outcome(outcome: Outcome) -> bytes:
    return _encoder.encode(outcome)


def decode_outcome(data: bytes) -> Outcome:
    return _outcome_decoder.decode(data)
