"""Decides which peers may connect: the three frames of a handshake, and the judgement on each of them, without I/O.

    acceptor → dialler   invitation: who I am, and a nonce
    dialler  → acceptor  hello: who I am, whom I believe to reach, your nonce
    acceptor → dialler   welcome: the version that both will speak

Each side judges the other before it goes on; in the place of a hello or a welcome may come `refused` with a reason,
so that both sides can log it. The nonce makes a recorded hello worthless. Names are proven by certificates where
there is TLS; without it they are only claims. A newer version may add fields at the end, which older ones skip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.net.frames import Frame, FrameError, FrameLimits, encode

MAGIC = "replicated-log"
LOWEST_VERSION = 1
HIGHEST_VERSION = 1
NONCE_BYTES = 16
RUN_BYTES = 16

LIMITS = FrameLimits(max_bytes=4096, max_items=64, keep_alives=False)
"""Limits for frames of a peer that hasn't proven its identity yet."""

_TEXT = 255
_INCARNATION = 64
_META_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a member is: its name, its data directory's incarnation, its cluster, and what it says of itself."""

    name: str
    incarnation: bytes
    cluster_id: str
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Card:
    """What each side shows: its identity, this run of its process (16 random bytes), and the versions it speaks."""

    identity: Identity
    run: bytes
    lowest: int = LOWEST_VERSION
    highest: int = HIGHEST_VERSION


@dataclass(frozen=True, slots=True)
class Invitation:
    card: Card
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    card: Card
    target: str
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a side knows of itself and of the connection: `names` are in the other's certificate (empty: no TLS)."""

    me: Identity
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Accept:
    version: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """`cause` is one of few words, for counting; `reason` is for people, on both sides."""

    cause: str
    reason: str


def judge_hello(hello: Hello, expected: Expectation, nonce: bytes) -> Accept | Refuse:
    """The acceptor's judgement on the dialler; `nonce` is the one of its invitation.

    Whether this name and incarnation is a member's is the caller's to ask.
    """
    verdict = _judge(hello.card, expected)
    if isinstance(verdict, Refuse):
        return verdict
    me = expected.me.name
    if hello.target != me:
        return Refuse("wrong_target", f"this is {me!r}, you look for {hello.target!r}: check the address of {me!r}")
    if hello.card.identity.name == me:
        return Refuse("own_name", f"{me!r} is my own name: two members can't share it")
    if hello.nonce != nonce:
        return Refuse("replayed", "this hello doesn't answer my invitation")
    return verdict


def judge_invitation(invitation: Invitation, expected: Expectation, target: str) -> Accept | Refuse:
    """The dialler's judgement on whom it reached when it dialled the address of `target`."""
    verdict = _judge(invitation.card, expected)
    if isinstance(verdict, Refuse):
        return verdict
    name = invitation.card.identity.name
    if name != target:
        return Refuse("wrong_target", f"I look for {target!r}, you are {name!r}: check the address of {target!r}")
    return verdict


def _judge(card: Card, expected: Expectation) -> Accept | Refuse:
    version = min(card.highest, HIGHEST_VERSION)
    if version < max(card.lowest, LOWEST_VERSION):
        return Refuse(
            "wrong_version",
            f"no version in common: I speak {LOWEST_VERSION} to {HIGHEST_VERSION}, you {card.lowest} to {card.highest}",
        )
    mine, yours = expected.me.cluster_id, card.identity.cluster_id
    if mine != yours:
        return Refuse("wrong_cluster", f"I belong to cluster {mine!r}, you to {yours!r}")
    if expected.names and card.identity.name not in expected.names:
        shown = ", ".join(sorted(expected.names))[:_TEXT]
        return Refuse("wrong_certificate", f"you say you are {card.identity.name!r}, your certificate says {shown}")
    return Accept(version)


def invitation_frame(invitation: Invitation) -> Frame:
    return ["invitation", *_card_fields(invitation.card), invitation.nonce]


def hello_frame(hello: Hello) -> Frame:
    return ["hello", *_card_fields(hello.card), hello.target, hello.nonce]


def welcome_frame(version: int) -> Frame:
    return ["welcome", version]


def refused_frame(reason: str) -> Frame:
    return ["refused", reason[: 4 * _TEXT]]


def read_invitation(frame: Frame) -> Invitation | Refuse:
    """What the dialler reads first. Raises FrameError when it is neither."""
    if frame[0] == "refused":
        return _read_refused(frame)
    *card, nonce = _fields(frame, "invitation", *_CARD, bytes)
    return Invitation(_card(card), nonce)


def read_hello(frame: Frame) -> Hello | Refuse:
    """What the acceptor reads first. Raises FrameError when it is neither."""
    if frame[0] == "refused":
        return _read_refused(frame)
    *card, target, nonce = _fields(frame, "hello", *_CARD, str, bytes)
    return Hello(_card(card), target, nonce)


def read_welcome(frame: Frame) -> Accept | Refuse:
    """What the dialler reads last. Raises FrameError when it is neither."""
    if frame[0] == "refused":
        return _read_refused(frame)
    (version,) = _fields(frame, "welcome", int)
    return Accept(version)


def check_identity(identity: Identity) -> None:
    """ValueError, saying which field, when `identity` couldn't be read by the other side."""
    hello = Hello(Card(identity, bytes(RUN_BYTES)), "x" * _TEXT, bytes(NONCE_BYTES))
    try:
        encode(hello_frame(hello), LIMITS)
        read_hello(hello_frame(hello))
    except FrameError as error:
        raise ValueError(f"identity of {identity.name!r}: {error}") from None


_CARD: tuple[type, ...] = (str, int, int, str, str, bytes, bytes, dict)


def _card_fields(card: Card) -> list[Any]:
    who = card.identity
    return [MAGIC, card.lowest, card.highest, who.cluster_id, who.name, who.incarnation, card.run, dict(who.meta)]


def _card(fields: list[Any]) -> Card:
    magic, lowest, highest, cluster_id, name, incarnation, run, meta = fields
    if magic != MAGIC:
        raise FrameError(f"not a member: its frames don't begin with {MAGIC!r}")
    if not name:
        raise FrameError("an empty name")
    if len(incarnation) > _INCARNATION:
        raise FrameError(f"an incarnation of {len(incarnation)} bytes; the limit is {_INCARNATION}")
    if len(meta) > _META_ITEMS:
        raise FrameError(f"{len(meta)} items of meta; the limit is {_META_ITEMS}")
    for text in (cluster_id, name, *meta, *meta.values()):
        if not isinstance(text, str):
            raise FrameError("meta holds texts only")
        if len(text) > _TEXT:
            raise FrameError(f"a text of {len(text)} characters; the limit is {_TEXT}")
    return Card(Identity(name, incarnation, cluster_id, meta), run, lowest, highest)


def _read_refused(frame: Frame) -> Refuse:
    (reason,) = _fields(frame, "refused", str)
    return Refuse("refused_by_peer", reason)


def _fields(frame: Frame, kind: str, *types: type) -> list[Any]:
    if frame[0] != kind:
        raise FrameError(f"expected {kind!r}, got a frame of another type")
    if len(frame) <= len(types):
        raise FrameError(f"{kind!r} has {len(types)} fields, not {len(frame) - 1}")
    fields = frame[1 : len(types) + 1]
    for number, (value, wanted) in enumerate(zip(fields, types, strict=True), 1):
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise FrameError(f"field {number} of {kind!r} is {type(value).__name__}, not {wanted.__name__}")
        if isinstance(value, str | bytes) and len(value) > 4 * _TEXT:
            raise FrameError(f"field {number} of {kind!r} is {len(value)} long; the limit is {4 * _TEXT}")
    return fields
