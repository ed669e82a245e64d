"""Who may speak, and why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.net import handshake
from cluster.net.frames import FrameError, decode, encode
from cluster.net.handshake import (
    Accept,
    Card,
    Expectation,
    Hello,
    Identity,
    Invitation,
    Refuse,
    check_identity,
    hello_frame,
    invitation_frame,
    judge_hello,
    judge_invitation,
    read_hello,
    read_invitation,
    read_welcome,
    refused_frame,
    welcome_frame,
)

ME = Identity("n1", b"d1", "c1", {"http": "127.0.0.1:4646"})
YOU = Identity("n2", b"d2", "c1", {"http": "127.0.0.1:4647"})
NONCE = b"n" * 16
HELLO = Hello(Card(YOU, b"r" * 16), "n1", NONCE)
PLAIN = Expectation(ME)
TLS = Expectation(ME, frozenset({"n2"}))

STRANGERS = {
    "wrong_cluster": replace(HELLO, card=Card(replace(YOU, cluster_id="c2"), b"r" * 16)),
    "wrong_version": replace(HELLO, card=Card(YOU, b"r" * 16, lowest=7, highest=9)),
    "wrong_target": replace(HELLO, target="n3"),
    "own_name": replace(HELLO, card=Card(replace(YOU, name="n1"), b"r" * 16)),
    "replayed": replace(HELLO, nonce=b"o" * 16),
}


@pytest.mark.parametrize("expected", [PLAIN, TLS], ids=["plain", "tls"])
def test_a_member_is_accepted(expected: Expectation) -> None:
    assert judge_hello(HELLO, expected, NONCE) == Accept(1)
    assert judge_invitation(Invitation(HELLO.card, NONCE), expected, "n2") == Accept(1)


@pytest.mark.parametrize(("cause", "hello"), STRANGERS.items(), ids=STRANGERS.keys())
def test_a_stranger_is_refused_with_its_cause(cause: str, hello: Hello) -> None:
    verdict = judge_hello(hello, PLAIN, NONCE)
    assert isinstance(verdict, Refuse)
    assert verdict.cause == cause
    assert len(verdict.reason) > 20


def test_a_name_that_the_certificate_does_not_prove_is_refused_on_both_sides() -> None:
    expected = Expectation(ME, frozenset({"n3", "n4"}))
    for verdict in (
        judge_hello(HELLO, expected, NONCE),
        judge_invitation(Invitation(HELLO.card, NONCE), expected, "n2"),
    ):
        assert verdict == Refuse("wrong_certificate", "you say you are 'n2', your certificate says n3, n4")


def test_a_member_that_sits_at_another_ones_address_is_refused() -> None:
    verdict = judge_invitation(Invitation(HELLO.card, NONCE), PLAIN, "n3")
    assert verdict == Refuse("wrong_target", "I look for 'n3', you are 'n2': check the address of 'n3'")


def test_versions_that_overlap_agree_on_the_highest_in_common() -> None:
    newer = replace(HELLO, card=replace(HELLO.card, lowest=1, highest=5))
    assert judge_hello(newer, PLAIN, NONCE) == Accept(handshake.HIGHEST_VERSION)


def test_what_one_side_writes_the_other_reads() -> None:
    invitation = Invitation(HELLO.card, NONCE)
    assert read_invitation(invitation_frame(invitation)) == invitation
    assert read_hello(hello_frame(HELLO)) == HELLO
    assert read_welcome(welcome_frame(1)) == Accept(1)
    for read in (read_invitation, read_hello, read_welcome):
        assert read(refused_frame("because")) == Refuse("refused_by_peer", "because")


def test_fields_that_a_newer_version_adds_at_the_end_are_skipped() -> None:
    assert read_hello([*hello_frame(HELLO), "new"]) == HELLO


FIELDS = hello_frame(HELLO)
BROKEN = {
    "another frame": ["append", 1],
    "too few fields": FIELDS[:-1],
    "another protocol": [FIELDS[0], "etcd", *FIELDS[2:]],
    "a version that is a truth value": [*FIELDS[:2], True, *FIELDS[3:]],
    "no name": [*FIELDS[:5], "", *FIELDS[6:]],
    "a name of bytes": [*FIELDS[:5], b"n2", *FIELDS[6:]],
    "a long name": [*FIELDS[:5], "n" * 256, *FIELDS[6:]],
    "a long incarnation": [*FIELDS[:6], b"d" * 65, *FIELDS[7:]],
    "meta that isn't text": [*FIELDS[:8], {"a": 1}, *FIELDS[9:]],
    "meta that is a list": [*FIELDS[:8], [], *FIELDS[9:]],
    "much meta": [*FIELDS[:8], {str(n): "" for n in range(17)}, *FIELDS[9:]],
    "a long target": [*FIELDS[:9], "n" * 1021, *FIELDS[10:]],
}


@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_hello_is_a_frame_error(frame: list[Any]) -> None:
    with pytest.raises(FrameError):
        read_hello(frame)


@given(st.lists(st.none() | st.integers() | st.text() | st.binary() | st.dictionaries(st.text(), st.text())))
def test_a_handshake_of_random_fields_is_a_frame_error(fields: list[Any]) -> None:
    for kind, read in (("hello", read_hello), ("invitation", read_invitation), ("welcome", read_welcome)):
        with pytest.raises(FrameError):
            read([kind, None, *fields])


@pytest.mark.parametrize(
    "identity",
    [
        replace(ME, name=""),
        replace(ME, name="n" * 256),
        replace(ME, incarnation=b"d" * 65),
        replace(ME, meta={str(n): "v" * 255 for n in range(16)}),
        replace(ME, meta={"n": "v" * 256}),
    ],
)
def test_an_identity_that_no_handshake_could_carry_is_found_at_the_start(identity: Identity) -> None:
    with pytest.raises(ValueError, match="identity of"):
        check_identity(identity)


def test_a_refusal_is_cut_so_that_it_fits() -> None:
    frame = refused_frame("é" * 10_000)
    assert isinstance(read_welcome(decode(encode(frame, handshake.LIMITS)[4:], handshake.LIMITS)), Refuse)
