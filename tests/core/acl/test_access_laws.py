"""Laws of access control whatever is done in whatever order: one state on all members, and no right from nowhere."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.machine import SECOND, node, volume
from volstore.core.acl.commands import (
    BootstrapAcl,
    Caller,
    DeleteAclPolicy,
    DeleteAclToken,
    DeleteNamespace,
    PutAclPolicy,
    PutAclToken,
    PutNamespace,
)
from volstore.core.acl.policy import parse_policy
from volstore.core.commands import (
    DeleteNode,
    DeregisterVolume,
    MergeVolumes,
    PutNode,
    RegisterVolumes,
    Stamped,
    decode_outcome,
    encode,
)
from volstore.core.fsm import Fsm

TEXTS = (
    'namespace "default" { policy = "write" } plugin { policy = "read" }',
    'namespace "*" { policy = "write" } node { policy = "write" }',
    'namespace "default" { policy = "deny" }',
    "",
)


def hashed(text: str) -> bytes:
    return sha256(text.encode()).digest()


accessors = st.sampled_from(("a", "b", "c"))
policy_names = st.sampled_from(("p", "q", "anonymous"))
namespaces = st.sampled_from(("default", "web"))
commands = st.one_of(
    st.builds(lambda accessor, reset: BootstrapAcl(accessor, hashed(accessor), reset), accessors, st.integers(0, 12)),
    st.builds(
        lambda name, text: PutAclPolicy(name, "", text, parse_policy(text)), policy_names, st.sampled_from(TEXTS)
    ),
    st.builds(DeleteAclPolicy, policy_names),
    st.builds(
        lambda accessor, new, kind, policies, ttl: PutAclToken(
            accessor, hashed(accessor) if new else b"", "", kind, tuple(policies), False, ttl * SECOND
        ),
        accessors,
        st.booleans(),
        st.sampled_from(("client", "management")),
        st.lists(policy_names, max_size=2),
        st.integers(0, 4),
    ),
    st.builds(DeleteAclToken, accessors),
    st.builds(PutNamespace, namespaces),
    st.builds(DeleteNamespace, namespaces),
    st.builds(lambda secret: PutNode(node("n1", secret_hash=hashed(secret))), st.sampled_from(("s", "t"))),
    st.builds(DeleteNode, st.just("n1")),
    st.builds(lambda namespace: RegisterVolumes(namespace, (volume("v"),)), namespaces),
    st.builds(lambda namespace: MergeVolumes((volume("v", namespace=namespace),)), namespaces),
    st.builds(DeregisterVolume, namespaces, st.just("v")),
)
callers = st.one_of(
    st.none(),
    st.builds(Caller, accessors),
    st.just(Caller()),
    st.builds(Caller, node_secret_hash=st.sampled_from(("s", "t")).map(hashed)),
)
steps = st.lists(
    st.builds(Stamped, st.integers(1, 20).map(lambda t: t * SECOND), commands, st.none(), callers), max_size=25
)


def restored(fsm: Fsm) -> Fsm:
    other = Fsm()
    other.restore(list(fsm.capture().chunks()))
    return other


@settings(max_examples=200, deadline=None)
@given(steps, st.sets(st.integers(0, 25)))
def test_two_machines_agree_though_one_is_restored_on_its_way(done: list[Stamped], restores: set[int]) -> None:
    straight, other = Fsm(), Fsm()
    for number, step in enumerate(done):
        if number in restores:
            other = restored(other)
        assert straight.apply(encode(step)) == other.apply(encode(step))
        assert straight.digest() == other.digest()
    assert list(straight.capture().chunks()) == list(other.capture().chunks())


@settings(max_examples=200, deadline=None)
@given(steps)
def test_who_is_denied_changes_nothing_and_only_management_changes_rights(done: list[Stamped]) -> None:
    fsm = Fsm()
    for step in done:
        access = fsm.state.access
        tables = [table.sum for table in fsm.state._tables()]
        rights = [table.sum for table in access.tables()]
        token = access.token(step.caller.accessor_id) if step.caller is not None else None
        may_all = step.caller is None or (token is not None and token.type == "management")
        outcome = decode_outcome(fsm.apply(encode(step)))
        if outcome.status == 403:
            assert [table.sum for table in fsm.state._tables()] == tables
        if not may_all and not isinstance(step.command, BootstrapAcl):
            assert [table.sum for table in access.tables()] == rights


@settings(max_examples=200, deadline=None)
@given(steps)
def test_every_token_is_found_by_its_secret_until_it_expires_and_nothing_else_is(done: list[Stamped]) -> None:
    fsm = Fsm()
    for step in done:
        fsm.apply(encode(step))
    now, access = fsm.state.log_time, fsm.state.access
    for accessor in ("a", "b", "c"):
        row = access.tokens.get(accessor)
        found = access.token_of(hashed(accessor), now)
        assert found == (row if row is not None and not access.expired(row, now) else None)
    holders = {row.secret_hash for row in fsm.state.nodes() if row.secret_hash}
    assert {secret for secret in map(hashed, ("s", "t")) if access.is_node_secret(secret)} == holders


@settings(max_examples=100, deadline=None)
@given(steps)
def test_nothing_is_ever_in_a_namespace_that_is_not_there(done: list[Stamped]) -> None:
    fsm = Fsm()
    for step in done:
        fsm.apply(encode(step))
        there = {row.name for row in fsm.state.namespaces()}
        assert "default" in there
        assert {name for name in ("default", "web") if fsm.state.volume(name, "v") is not None} <= there
