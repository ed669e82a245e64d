"""Policies, tokens and namespaces in the state machine: what is kept, what is refused, and who may write."""

from __future__ import annotations

from hashlib import sha256
from typing import get_args

import pytest

from tests.core.machine import SECOND, Machine, allocation, node, volume
from volstore.core.acl.apply import EXPIRED_REMOVED_AT_ONCE
from volstore.core.acl.check import ALLOWED, MANAGEMENT_ALONE
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
from volstore.core.acl.tables import POLICY, TOKEN
from volstore.core.commands import (
    AbandonRestore,
    AdoptRestore,
    AdvanceTime,
    BeginRestore,
    ClaimVolume,
    Command,
    CommitRestore,
    DeleteAllocation,
    DeleteNode,
    DeregisterVolume,
    DetachVolume,
    FreeClaims,
    Idempotency,
    MergeVolumes,
    Outcome,
    PutAllocations,
    PutNode,
    RegisterVolumes,
    ReleaseClaim,
    ReportAllocations,
    RestorePiece,
    SetNodeStatus,
    Stamped,
    SweepClaims,
    SweepNode,
    TakeClaim,
    decode_outcome,
    encode,
)

ANONYMOUS = Caller()
DENIED, NOT_FOUND = (403, "Permission denied"), (403, "ACL token not found")


def hashed(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def put_policy(machine: Machine, name: str, text: str) -> Outcome:
    return machine.do(PutAclPolicy(name, "", text, parse_policy(text)))


def put_token(machine: Machine, accessor: str, *policies: str, ttl: int = 0) -> Outcome:
    kind = "client" if policies else "management"
    command = PutAclToken(accessor, hashed(f"secret of {accessor}"), accessor, kind, policies, ttl=ttl)
    return machine.do(command)


def do_as(machine: Machine, caller: Caller | None, command: Command, *, key: Idempotency | None = None) -> Outcome:
    machine.clock += SECOND
    return decode_outcome(machine.fsm.apply(encode(Stamped(machine.clock, command, key, caller))))


def refusal(outcome: Outcome) -> tuple[int, str]:
    return outcome.status, outcome.text


@pytest.fixture
def machine() -> Machine:
    return prepared()


def prepared() -> Machine:
    """A node with a secret, its plugin, a volume, an allocation; policies and tokens named alike."""
    machine = Machine()
    machine.done(PutNode(node("n1", secret_hash=hashed("secret of n1"))))
    machine.done(PutNode(node("n2", secret_hash=hashed("secret of n2"))))
    machine.done(RegisterVolumes("default", (volume("v"),)))
    machine.done(PutAllocations((allocation("a1"), allocation("a2", node_id="n2"))))
    for name, text in {
        "write": 'namespace "default" { policy = "write" } plugin { policy = "read" }',
        "read": 'namespace "default" { policy = "read" } plugin { policy = "read" }',
        "nodes": 'node { policy = "write" }',
        "operate": 'operator { policy = "write" }',
        "node-n2": 'namespace "lent" { capabilities = ["csi-mount-volume"] }',
    }.items():
        assert put_policy(machine, name, text).status == 200
        assert put_token(machine, name, name).status == 200
    assert put_token(machine, "manage").status == 200
    return machine


# Who may have what done.

N1, N2 = Caller(node_secret_hash=hashed("secret of n1")), Caller(node_secret_hash=hashed("secret of n2"))
CALLERS: dict[str, Caller | None] = {
    "the cluster": None,
    "anonymous": ANONYMOUS,
    "n1": N1,
    "n2": N2,
    **{name: Caller(name) for name in ("write", "read", "nodes", "operate", "manage")},
}
REPORT = node("n1", secret_hash=hashed("secret of n1"))
ALWAYS = {"the cluster", "manage"}
COMMANDS: list[tuple[Command, set[str]]] = [
    (RegisterVolumes("default", (volume("w"),)), {"write"}),
    (RegisterVolumes("other", (volume("w"),)), set()),
    (MergeVolumes((volume("w"),)), {"write"}),
    (MergeVolumes((volume("w"), volume("w", namespace="other"))), set()),
    (MergeVolumes((volume("w", namespace="other"),)), set()),
    (DeregisterVolume("default", "v"), {"write"}),
    (ClaimVolume("default", "v", "a1", 0), {"write", "n1"}),
    (ClaimVolume("default", "v", "a2", 0), {"write", "n2"}),
    (ClaimVolume("default", "v", "a1", 0, node_id="n2"), {"write"}),
    (ClaimVolume("default", "v", "vanished", 2, 3, node_id="n1"), {"write", "n1"}),
    (ClaimVolume("default", "v", "vanished", 2, 3), {"write"}),
    (TakeClaim("default", "v", "a1", 0), {"write", "n1"}),
    (TakeClaim("default", "v", "a2", 0), {"write", "n2"}),
    (TakeClaim("default", "v", "a1", 0, node_id="n2"), {"write"}),
    (TakeClaim("other", "v", "a1", 0), {"n1"}),
    (ReleaseClaim("default", "v", "vanished", 3, node_id="n1"), {"write", "n1"}),
    (ReleaseClaim("default", "v", "vanished", 3), {"write"}),
    (DetachVolume("default", "v", "n1"), {"write", "n1"}),
    (PutNode(REPORT), set(CALLERS)),  # the report itself shows the node's secret
    (PutNode(node("n1")), {"nodes", "n1"}),
    (PutNode(node("new", secret_hash=hashed("secret of n1"))), {"nodes"}),
    (SetNodeStatus("n1", "down"), {"nodes", "n1"}),
    (DeleteNode("n1"), {"nodes", "n1"}),
    (DeleteNode("none"), {"nodes"}),
    (PutAllocations((allocation("a1"), allocation("a3"))), {"nodes", "n1"}),
    (PutAllocations((allocation("a1"), allocation("a2", node_id="n2"))), {"nodes"}),
    (PutAllocations((allocation("a2"),)), {"nodes"}),  # n2's, which n1 would take
    (ReportAllocations((allocation("a1"),)), {"nodes", "n1"}),
    (ReportAllocations((allocation("a1", client_status="complete"),)), {"nodes", "n1"}),
    (ReportAllocations((allocation("a1"), allocation("a3"))), {"nodes"}),  # a3 was never placed
    (ReportAllocations((allocation("a1", namespace="other"),)), {"nodes"}),
    (ReportAllocations((allocation("a1", job_id="another"),)), {"nodes"}),
    (ReportAllocations((allocation("a2"),)), {"nodes"}),
    (ReportAllocations((allocation("a2", node_id="n2"), allocation("a1"))), {"nodes"}),
    (ReportAllocations((allocation("mine", node_id="n2", namespace="lent"),)), {"nodes", "n2"}),  # by n2's policy
    (ReportAllocations((allocation("mine", node_id="n1", namespace="lent"),)), {"nodes"}),
    (ReportAllocations((allocation("mine", node_id="n2", namespace="other"),)), {"nodes"}),
    (DeleteAllocation("a1"), {"nodes", "n1"}),
    (DeleteAllocation("none"), {"nodes"}),
    (BeginRestore("id", 1, b""), {"operate"}),
    (RestorePiece("id", 1, b""), {"operate"}),
    (CommitRestore("id"), {"operate"}),
    (AbandonRestore("id"), {"operate"}),
    (AdoptRestore("id"), set()),
    (SweepClaims(()), set()),
    (FreeClaims(()), set()),
    (SweepNode("n1", 0, 0), set()),
    (AdvanceTime(0, 10**9), set()),
    (BootstrapAcl("accessor", b"hash"), set(CALLERS)),
    (PutAclPolicy("p", "", "", parse_policy("")), set()),
    (DeleteAclPolicy("write"), set()),
    (PutAclToken("read", name="x", kind="management"), set()),
    (DeleteAclToken("write"), set()),
    (PutNamespace("web"), set()),
    (DeleteNamespace("default"), set()),
]


@pytest.mark.parametrize(("command", "allowed"), COMMANDS, ids=lambda value: str(value)[:60])
def test_a_command_is_done_for_those_who_may_and_else_changes_nothing(command: Command, allowed: set[str]) -> None:
    for name, caller in CALLERS.items():
        fresh = prepared()
        tables = [table.sum for table in fresh.state._tables()]
        outcome = do_as(fresh, caller, command)
        if name in allowed | ALWAYS:
            assert refusal(outcome) != DENIED, name
        else:
            assert refusal(outcome) == DENIED, name
            assert [table.sum for table in fresh.state._tables()] == tables


def test_who_may_have_it_done_is_decided_and_tested_for_every_command() -> None:
    """One that is forgotten is management's alone, and fails here."""
    every = set(get_args(Command))
    assert every == ALLOWED.keys() | MANAGEMENT_ALONE
    assert not ALLOWED.keys() & MANAGEMENT_ALONE
    assert every == {type(command) for command, _ in COMMANDS}


def test_a_removed_tokens_command_is_refused_at_its_own_index(machine: Machine) -> None:
    assert do_as(machine, Caller("write"), DeregisterVolume("default", "v")).status == 200
    assert machine.do(DeleteAclToken("write")).status == 200
    outcome = do_as(machine, Caller("write"), RegisterVolumes("default", (volume("v"),)))
    assert (refusal(outcome), outcome.index) == (NOT_FOUND, machine.state.index)
    assert machine.state.volume("default", "v") is None


def test_a_token_loses_its_rights_with_its_policy_and_gets_them_back_with_it(machine: Machine) -> None:
    register = RegisterVolumes("default", (volume("w"),))
    text = machine.state.access.policies.rows["write"].text
    machine.done(DeleteAclPolicy("write"))
    assert refusal(do_as(machine, Caller("write"), register)) == DENIED
    assert put_policy(machine, "write", text).status == 200
    assert do_as(machine, Caller("write"), register).status == 200


def test_the_anonymous_policy_is_for_whoever_has_no_token(machine: Machine) -> None:
    register = RegisterVolumes("default", (volume("w"),))
    assert refusal(do_as(machine, ANONYMOUS, register)) == DENIED
    put_policy(machine, "anonymous", machine.state.access.policies.rows["write"].text)
    assert do_as(machine, ANONYMOUS, register).status == 200
    assert refusal(do_as(machine, Caller("read"), RegisterVolumes("default", (volume("x"),)))) == DENIED


def test_a_removed_token_gets_no_remembered_outcome_either(machine: Machine) -> None:
    key = Idempotency("token write", "key", b"hash")
    command = DeregisterVolume("default", "v")
    assert do_as(machine, Caller("write"), command, key=key).status == 200
    assert do_as(machine, Caller("write"), command, key=key).status == 200
    machine.done(DeleteAclToken("write"))
    assert refusal(do_as(machine, Caller("write"), command, key=key)) == NOT_FOUND


def test_a_token_expires_by_log_time_and_a_slow_clock_does_not_bring_it_back(machine: Machine) -> None:
    put_token(machine, "brief", "write", ttl=10 * SECOND)
    deregister = DeregisterVolume("default", "none")
    assert do_as(machine, Caller("brief"), deregister).status == 404
    machine.clock += 10 * SECOND
    machine.do(DeregisterVolume("default", "none"))
    assert refusal(do_as(machine, Caller("brief"), deregister)) == NOT_FOUND
    early = Stamped(machine.clock - 3600 * SECOND, deregister, None, Caller("brief"))
    assert refusal(decode_outcome(machine.fsm.apply(encode(early)))) == NOT_FOUND


def test_a_secret_of_a_node_that_is_gone_is_worth_nothing(machine: Machine) -> None:
    assert machine.state.access.is_node_secret(hashed("secret of n1"))
    machine.done(DeleteNode("n1"))
    assert not machine.state.access.is_node_secret(hashed("secret of n1"))
    assert refusal(do_as(machine, N1, ClaimVolume("default", "v", "a1", 0))) == DENIED


# Bootstrap.


def test_bootstrap_works_once_and_again_only_with_the_index_of_the_last_time() -> None:
    machine = Machine()
    first = machine.done(BootstrapAcl("first", hashed("1")))
    refused = machine.do(BootstrapAcl("second", hashed("2")))
    assert refusal(refused) == (400, f"ACL bootstrap already done (reset index: {first.index})")
    assert machine.do(BootstrapAcl("second", hashed("2"), reset_index=first.index + 1)).status == 400
    again = machine.done(BootstrapAcl("second", hashed("2"), reset_index=first.index))
    assert machine.do(BootstrapAcl("third", hashed("3"), reset_index=first.index)).status == 400
    assert machine.restored().do(BootstrapAcl("third", hashed("3"), reset_index=again.index)).status == 200
    assert [token.accessor_id for token in machine.state.access.sorted_tokens(0)] == ["first", "second"]


# Tokens and policies.


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (PutAclToken("x", b"h", "x", ""), (400, "token type must be client or management")),
        (PutAclToken("x", b"h", "x", "client"), (400, "client token missing policies")),
        (PutAclToken("x", b"h", "x", "management", ("p",)), (400, "management token cannot be associated with polic")),
        (PutAclToken("x", b"h", "x" * 257, "client", ("p",)), (400, "token name too long")),
        (PutAclToken("none", b"", "x", "client", ("p",)), (404, "cannot find token none")),
        (PutAclToken("read", b"", "x", "client", ("p",), True), (400, "cannot toggle global mode of read")),
        (PutAclToken("read", b"", "x", "client", ("p",), ttl=1), (400, "cannot change the expiration time of read")),
        (PutAclToken("read", b"h", "x", "client", ("p",)), (409, "token read already exists")),
        (DeleteAclToken("none"), (400, "Cannot delete nonexistent tokens: none")),
        (PutAclPolicy("we ird", "", "", parse_policy("")), (400, "invalid name 'we ird'")),
        (PutAclPolicy("p" * 129, "", "", parse_policy("")), (400, "invalid name 'ppp")),
        (PutAclPolicy("p", "d" * 257, "", parse_policy("")), (400, "description longer than 256")),
        (PutNamespace("a/b"), (400, "invalid name 'a/b'")),
        (PutNamespace("*"), (400, "invalid name '*'")),
        (PutNamespace("a", "d" * 257), (400, "description longer than 256")),
        (DeleteNamespace("default"), (400, "validation: the default namespace cannot be deleted")),
        (DeleteNamespace("none"), (404, "namespace not found: none")),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_command_is_refused_and_changes_nothing(
    machine: Machine, command: Command, expected: tuple[int, str]
) -> None:
    tables = [table.sum for table in machine.state._tables()]
    status, text = refusal(machine.do(command))
    assert (status, expected[1] in text) == (expected[0], True), text
    assert [table.sum for table in machine.state._tables()] == tables


def test_all_that_is_wrong_is_told_at_once_as_go_lists_it(machine: Machine) -> None:
    outcome = machine.do(PutAclToken("x", b"h", "x" * 300, "other"))
    assert outcome.text == (
        "token 0 invalid: 2 errors occurred:\n\t* token name too long\n\t* token type must be client or management\n\n"
    )


def test_a_changed_token_keeps_its_secret_and_its_beginning(machine: Machine) -> None:
    old = machine.state.access.token("read")
    assert old is not None
    machine.done(PutAclToken("read", b"", "renamed", "client", ("write", "nodes")))
    new = machine.state.access.token_of(hashed("secret of read"), 0)
    assert new is not None
    assert (new.name, new.policies, new.modify_index) == ("renamed", ("write", "nodes"), machine.state.index)
    assert (new.create_index, new.create_time) == (old.create_index, old.create_time)


def test_expired_tokens_leave_when_tokens_are_written_a_few_at_a_time(machine: Machine) -> None:
    count = EXPIRED_REMOVED_AT_ONCE + 3
    for number in range(count):
        put_token(machine, f"brief{number:03}", "read", ttl=count * SECOND)
    machine.clock += 2 * count * SECOND
    put_token(machine, "one", "read")
    assert sum(token.accessor_id.startswith("brief") for token in machine.state.access.tokens) == 3
    other = machine.restored()
    for each in (machine, other):
        put_token(each, "two", "read")
        assert not [token for token in each.state.access.tokens if token.accessor_id.startswith("brief")]
    assert machine.fsm.digest() == other.fsm.digest()


def test_what_is_kept_survives_a_restore(machine: Machine) -> None:
    other = machine.restored()
    assert other.fsm.digest() == machine.fsm.digest()
    assert other.state.access.token_of(hashed("secret of write"), 0) == machine.state.access.token("write")
    assert other.state.access.is_node_secret(hashed("secret of n2"))
    assert do_as(other, Caller("write"), DeregisterVolume("default", "v")).status == 200
    assert refusal(do_as(other, Caller("read"), DeregisterVolume("default", "v"))) == DENIED


@pytest.mark.parametrize(
    ("kind", "id", "change"),
    [
        (POLICY, "read", lambda m: put_policy(m, "read", "")),
        (POLICY, "read", lambda m: m.done(DeleteAclPolicy("read"))),
        (POLICY, "new", lambda m: put_policy(m, "new", "")),
        (TOKEN, "read", lambda m: m.done(PutAclToken("read", b"", "x", "client", ("p",)))),
        (TOKEN, "read", lambda m: m.done(DeleteAclToken("read"))),
        (TOKEN, "new", lambda m: put_token(m, "new", "read")),
    ],
)
def test_what_changed_has_moved_and_the_rest_has_not(machine: Machine, kind: str, id: str, change: object) -> None:
    index = machine.state.index
    access = machine.state.access
    assert not access.moved_since(kind, index)
    change(machine)  # type: ignore[operator]  # a row of the table: a function
    for state in (machine.state, machine.restored().state):
        assert state.access.moved_since(kind, index)
        assert state.access.moved_since(kind, index, id)
        assert not state.access.moved_since(kind, index, "write")
        assert not state.access.moved_since(TOKEN if kind == POLICY else POLICY, index)


# Namespaces.


def test_a_namespace_goes_only_when_nothing_is_in_it(machine: Machine) -> None:
    machine.done(PutNamespace("web", "d"))
    created = machine.state.index
    machine.done(RegisterVolumes("web", (volume("v"),)))
    machine.done(PutAllocations((allocation("b1", namespace="web"),)))
    machine.done(PutNamespace("web", "e"))
    row = machine.state.namespace("web")
    assert row is not None
    assert (row.description, row.create_index, row.modify_index) == ("e", created, machine.state.index)
    refused = machine.do(DeleteNamespace("web"))
    assert refusal(refused) == (409, "namespace web has volumes, v among them: deregister them first")
    machine.done(DeregisterVolume("web", "v"))
    assert machine.do(DeleteNamespace("web")).text == "namespace web has allocations, b1 among them: they must go first"
    machine.done(DeleteAllocation("b1"))
    before = machine.state.index
    machine.done(DeleteNamespace("web"))
    for state in (machine.state, machine.restored().state):
        assert state.namespace("web") is None
        assert state.namespaces_moved_since(before)
        assert state.namespace_moved_since("web", before)
        assert not state.namespace_moved_since("default", before)
    assert machine.do(RegisterVolumes("web", (volume("v"),))).status == 400
