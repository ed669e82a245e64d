"""Conducts a handshake over a stream, as the side that dialled or the side that was dialled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.net import handshake
from cluster.net.frames import Decoder, Frame, encode
from cluster.net.handshake import Accept, Card, Expectation, Hello, Identity, Invitation, Refuse
from cluster.ports import Stream

Admit = Callable[[str, bytes, Mapping[str, str]], str | None]
"""Asked for a name, an incarnation and a meta: why they are not let in, or None."""


class Refused(Exception):
    """One side refused the other; `by_peer` says which one. `cause` is one word, `reason` for people; `peer` is what
    the other said of itself before, None if nothing."""

    def __init__(self, refuse: Refuse, *, by_peer: bool, peer: Identity | None = None) -> None:
        super().__init__(refuse.reason)
        self.cause = refuse.cause
        self.reason = refuse.reason
        self.by_peer = by_peer
        self.peer = peer


@dataclass(frozen=True, slots=True)
class Greeted:
    """A finished handshake: who the other is, and the decoder with what was read too far."""

    card: Card
    decoder: Decoder


async def receive(stream: Stream, me: Card, nonce: bytes, admit: Admit) -> Greeted:
    """Greet a peer that dialled. Raises Refused, FrameError, ConnectionError; the caller bounds the time and closes."""
    decoder = Decoder(handshake.LIMITS)
    await _write(stream, handshake.invitation_frame(Invitation(me, nonce)))
    hello = handshake.read_hello(await _read(stream, decoder))
    if isinstance(hello, Refuse):
        raise Refused(hello, by_peer=True)
    verdict = handshake.judge_hello(hello, Expectation(me.identity, stream.peer_names()), nonce)
    accept = await _agree(stream, hello.card, verdict, admit)
    await _write(stream, handshake.welcome_frame(accept.version))
    return Greeted(hello.card, decoder)


async def introduce(stream: Stream, me: Card, target: str, admit: Admit) -> Greeted:
    """Greet the member `target`, whom we dialled. Raises as `receive` does."""
    decoder = Decoder(handshake.LIMITS)
    invitation = handshake.read_invitation(await _read(stream, decoder))
    if isinstance(invitation, Refuse):
        raise Refused(invitation, by_peer=True)
    verdict = handshake.judge_invitation(invitation, Expectation(me.identity, stream.peer_names()), target)
    await _agree(stream, invitation.card, verdict, admit)
    await _write(stream, handshake.hello_frame(Hello(me, target, invitation.nonce)))
    welcome = handshake.read_welcome(await _read(stream, decoder))
    if isinstance(welcome, Refuse):
        raise Refused(welcome, by_peer=True, peer=invitation.card.identity)
    return Greeted(invitation.card, decoder)


async def _agree(stream: Stream, card: Card, verdict: Accept | Refuse, admit: Admit) -> Accept:
    if isinstance(verdict, Accept):
        who = card.identity
        reason = admit(who.name, who.incarnation, who.meta)
        if reason is None:
            return verdict
        verdict = Refuse("not_admitted", reason)
    await _write(stream, handshake.refused_frame(verdict.reason))
    raise Refused(verdict, by_peer=False)


async def _write(stream: Stream, frame: Frame) -> None:
    stream.write(encode(frame, handshake.LIMITS))
    await stream.drain()


async def _read(stream: Stream, decoder: Decoder) -> Frame:
    while (frame := decoder.take()) is None:
        data = await stream.read(handshake.LIMITS.max_bytes)
        if not data:
            raise ConnectionError("closed during the handshake")
        decoder.feed(data)
    return frame
