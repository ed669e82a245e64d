"""The tables of access control, policies and tokens, with what makes finding a caller's rights cheap.

No secret is here, only the SHA-256 of each: secrets are random and long, so a plain hash gives nothing away, and a
hash is looked up instead of comparing secrets byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from volstore.core.acl.rights import MANAGEMENT, Acl, Rules
from volstore.core.departures import Departures
from volstore.core.events import AccessChanged, Event
from volstore.core.frozen import Frozen
from volstore.core.logtime import Timers
from volstore.core.model import Node
from volstore.core.ordered import Ordered
from volstore.core.tables import Table

CLIENT_TYPE, MANAGEMENT_TYPE = "client", "management"
TOKEN_TYPES = (CLIENT_TYPE, MANAGEMENT_TYPE)
ANONYMOUS = "anonymous"
"""The policy of whoever shows no token."""

NODE_POLICY = "node-"
"""Before a node's ID: the policy that says in which namespaces this node may place allocations by its secret alone."""

POLICY, TOKEN = "policy", "token"
"""Kinds of departure and of change."""

Source = tuple[str, str]
"""Something that grants rights: its kind, and a policy's name or a token's accessor."""

_ACLS_KEPT = 1024


class AclPolicy(Frozen, frozen=True, kw_only=True):
    """A policy: its text, and the rules that were read from it once, by whoever proposed it.

    Members don't read the text themselves: two versions might understand it differently, and their states diverge.
    """

    name: str
    description: str = ""
    text: str = ""
    rules: Rules = Rules()
    create_index: int = 0
    modify_index: int = 0


class AclToken(Frozen, frozen=True, kw_only=True):
    """A token. Times are dates, nanoseconds since 1970; `expiration_time` 0 is never, and when it is in fact says
    `Access.expired`.

    `accessor_id` names it in the open; `secret_hash` is SHA-256 of the secret that proves it. `global_` only means
    something to Nomad's federated regions; it is kept and given back.
    """

    accessor_id: str
    secret_hash: bytes
    name: str = ""
    type: str = CLIENT_TYPE
    policies: tuple[str, ...] = ()
    global_: bool = False
    create_time: int = 0
    expiration_time: int = 0
    create_index: int = 0
    modify_index: int = 0

    def __repr__(self) -> str:
        return f"AclToken({self.accessor_id})"


class Bootstrapped(Frozen, frozen=True, kw_only=True):
    """At which index the first management token was made last; a reset must name it."""

    index: int
    accessor_id: str


class Access:
    """Policies and tokens. `left` takes the departures, `note` the events of what changes; `timers` has when tokens
    expire."""

    __slots__ = (
        "_acls",
        "_by_secret",
        "_expiring",
        "_left",
        "_node_secrets",
        "_note",
        "_timers",
        "bootstraps",
        "policies",
        "tokens",
    )

    def __init__(self, left: Departures, timers: Timers, note: Callable[[Event], None]) -> None:
        self.policies: Table[str, AclPolicy] = Table("acl-policies", AclPolicy, lambda row: row.name)
        self.tokens: Table[str, AclToken] = Table("acl-tokens", AclToken, lambda row: row.accessor_id)
        self.bootstraps: Table[int, Bootstrapped] = Table("acl-bootstraps", Bootstrapped, lambda row: row.index)
        self._left = left
        self._timers = timers
        self._note = note
        self._by_secret: dict[bytes, str] = {}
        self._expiring: Ordered[tuple[int, str]] = Ordered()
        self._node_secrets: dict[bytes, set[str]] = {}
        self._acls: dict[tuple[str, ...], Acl] = {}

    # Who it is, and what they may do.

    def token_of(self, secret_hash: bytes, now: int) -> AclToken | None:
        """The token whose secret has this SHA-256, unless it has expired at `now` (log time)."""
        return self.token(self._by_secret.get(secret_hash, ""), now)

    def token(self, accessor_id: str, now: int = 0) -> AclToken | None:
        token = self.tokens.get(accessor_id)
        return None if token is None or self.expired(token, now) else token

    def expired(self, token: AclToken, now: int) -> bool:
        """Whether it has at `now` (log time)."""
        return 0 < self._expiry(token) <= now

    def _expiry(self, token: AclToken) -> int:
        """By log time. A token from before the measured time began has no timer: its date was log time then."""
        at = self._timers.token(token.accessor_id)
        return token.expiration_time if at is None else at

    def expiration_date(self, token: AclToken) -> int:
        """What a user sees, in nanoseconds since 1970: one that a wrong clock stamped long ago is put right."""
        at = self._timers.token(token.accessor_id)
        return token.expiration_time - (self._timers.ahead if at is None else 0)

    def next_expiry(self) -> int | None:
        """The log time at which the next token expires."""
        return next((at for at, _ in self._expiring), None)

    def is_node_secret(self, secret_hash: bytes) -> bool:
        return secret_hash in self._node_secrets

    def acl(self, token: AclToken | None) -> Acl:
        """The rights of a token, or (None) of the anonymous."""
        if token is not None and token.type == MANAGEMENT_TYPE:
            return MANAGEMENT
        return self._acl_of((ANONYMOUS,) if token is None else token.policies)

    def acl_of_node(self, node_id: str) -> Acl:
        """What the policy that is named for this node grants to it; nothing without one."""
        return self._acl_of((NODE_POLICY + node_id,))

    def _acl_of(self, names: tuple[str, ...]) -> Acl:
        acl = self._acls.get(names)
        if acl is None:
            if len(self._acls) >= _ACLS_KEPT:
                self._acls.clear()
            found = (self.policies.get(name) for name in names)
            acl = self._acls[names] = Acl(policy.rules for policy in found if policy is not None)
        return acl

    def sources(self, token: AclToken | None) -> tuple[Source, ...]:
        """What `acl` of it follows from, whether it is there or not."""
        if token is None:
            return ((POLICY, ANONYMOUS),)
        return (TOKEN, token.accessor_id), *((POLICY, name) for name in token.policies)

    def sorted_policies(self) -> list[AclPolicy]:
        return sorted(self.policies, key=lambda row: row.name)

    def sorted_tokens(self, now: int) -> list[AclToken]:
        """Those that haven't expired, by accessor."""
        return sorted((row for row in self.tokens if not self.expired(row, now)), key=lambda row: row.accessor_id)

    @property
    def bootstrapped(self) -> Bootstrapped | None:
        return next(iter(self.bootstraps), None)

    # Blocking queries: has it moved after FSM index `index`?

    def moved_since(self, kind: str, index: int, id: str | None = None) -> bool:
        """`kind` POLICY or TOKEN; `id` None: anything of that kind."""
        table: Table[str, Any] = self.policies if kind == POLICY else self.tokens
        if id is None:
            return self._left.last_of(kind) > index or any(row.modify_index > index for row in table)
        row = table.get(id)
        return (self._left.last(kind, id) if row is None else row.modify_index) > index

    # Changes; `index` is the FSM's, of the command that is being applied.

    def put_policy(self, policy: AclPolicy) -> None:
        self.policies.put(policy)
        self._policy_changed(policy.name)

    def remove_policy(self, name: str, index: int) -> None:
        self.policies.remove(name)
        self._left.record(index, POLICY, name)
        self._policy_changed(name)

    def _policy_changed(self, name: str) -> None:
        self._acls.clear()
        self._note(AccessChanged(POLICY, name))

    def put_token(self, token: AclToken, expires: int | None = None) -> None:
        """Add or replace. `expires`: by log time, 0 for never; None leaves it as it is, or as its date says."""
        old = self.tokens.put(token)
        if old is not None:
            self._forget(old)
        if expires is not None and self._timers.measured:
            if expires:
                self._timers.set_token(token.accessor_id, expires)
            else:
                self._timers.drop_token(token.accessor_id)
        self._know(token)
        self._note(AccessChanged(TOKEN, token.accessor_id))

    def remove_token(self, accessor_id: str, index: int) -> None:
        self._forget(self.tokens.remove(accessor_id))
        self._timers.drop_token(accessor_id)
        self._left.record(index, TOKEN, accessor_id)
        self._note(AccessChanged(TOKEN, accessor_id))

    def remove_expired(self, now: int, index: int, most: int) -> None:
        """Up to `most` of the tokens that expired first."""
        for time, accessor_id in list(islice(self._expiring, most)):
            if time > now:
                return
            self.remove_token(accessor_id, index)

    def bootstrap(self, done: Bootstrapped) -> None:
        for index in list(self.bootstraps.rows):
            self.bootstraps.remove(index)
        self.bootstraps.put(done)

    def follow_node(self, old: Node | None, new: Node | None) -> None:
        """Keep in mind which secrets are nodes'."""
        if old is not None and old.secret_hash:
            holders = self._node_secrets[old.secret_hash]
            holders.discard(old.id)
            if not holders:
                del self._node_secrets[old.secret_hash]
        if new is not None and new.secret_hash:
            self._node_secrets.setdefault(new.secret_hash, set()).add(new.id)

    # The whole of it.

    def tables(self) -> tuple[Table[Any, Any], ...]:
        return self.policies, self.tokens, self.bootstraps

    def loaders(self) -> dict[str, Callable[[bytes], object]]:
        """What takes each table's rows from a snapshot, by the table's name, in the order of `tables`."""
        return {
            self.policies.name: self.policies.load,
            self.tokens.name: self._load_token,
            self.bootstraps.name: self.bootstraps.load,
        }

    def _load_token(self, encoded: bytes) -> None:
        self._know(self.tokens.load(encoded))

    def _know(self, token: AclToken) -> None:
        self._by_secret[token.secret_hash] = token.accessor_id
        if expiry := self._expiry(token):
            self._expiring.add((expiry, token.accessor_id))

    def _forget(self, token: AclToken) -> None:
        if self._by_secret.get(token.secret_hash) == token.accessor_id:
            del self._by_secret[token.secret_hash]
        if expiry := self._expiry(token):
            self._expiring.remove((expiry, token.accessor_id))
