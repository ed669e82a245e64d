"""The caller of a request: its token or address, and its rights as the state has them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from volstore.core.acl.check import PERMISSION_DENIED, TOKEN_NOT_FOUND, Rights, rights_of
from volstore.core.acl.commands import Caller
from volstore.core.acl.tables import Source
from volstore.core.errors import ApiError
from volstore.core.state import State

TOKEN_HEADER = "X-Nomad-Token"
_BEARER = "bearer "

Clock = Callable[[], int]
"""Nanoseconds of log time, as a node measures it (`Registry.log_now`)."""


class Denied(ApiError):
    """403: the caller lacks a right, or has no token that is known."""


def permission_denied() -> Denied:
    return Denied(*PERMISSION_DENIED)


def hash_secret(secret: str) -> bytes:
    """SHA-256, all that is ever kept of a secret. Surrogates stand for bytes of a header that aren't UTF-8."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def secret_of(headers: Mapping[str, str]) -> str:
    """The token's secret, from X-Nomad-Token, otherwise from `Authorization: Bearer`; "" when there is none."""
    given = headers.get(TOKEN_HEADER, "").strip()
    if given:
        return given
    authorization = headers.get("Authorization", "").strip()
    return authorization[len(_BEARER) :].strip() if authorization.lower().startswith(_BEARER) else ""


class HttpCaller:
    """The caller of one request. It keeps no rights: they are looked up in the state each time.

    `restricted` is False while access control is off. `address` is the client's. `clock` or log time, whichever is
    later, decides whether a token has expired. The repr shows no fields: one is the hash of a secret.
    """

    __slots__ = ("_accessor_id", "_clock", "_secret_hash", "address", "restricted")

    def __init__(self, secret: str = "", address: str = "", *, restricted: bool, clock: Clock = lambda: 0) -> None:
        self.restricted = restricted
        self.address = address
        self._secret_hash = hash_secret(secret) if secret and restricted else b""
        self._clock = clock
        self._accessor_id = ""

    @property
    def anonymous(self) -> bool:
        return not self._secret_hash

    @property
    def accessor_id(self) -> str:
        """The token's, after `identity` found it; "" for nodes and anonymous callers."""
        return self._accessor_id

    def now(self, state: State) -> int:
        return max(self._clock(), state.log_time)

    def rights(self, state: State) -> Rights:
        """Raises Denied where the token is unknown, removed or expired."""
        rights = rights_of(state, self.identity(state), self.now(state))
        if rights is None:
            raise Denied(*TOKEN_NOT_FOUND)
        return rights

    def identity(self, state: State) -> Caller | None:
        """Whose rights `apply` asks for a write; None while access control is off. Raises Denied as `rights` does."""
        if not self.restricted:
            return None
        if not self._secret_hash:
            return Caller()
        token = state.access.token_of(self._secret_hash, self.now(state))
        if token is not None:
            self._accessor_id = token.accessor_id
            return Caller(accessor_id=token.accessor_id)
        if state.access.is_node_secret(self._secret_hash):
            return Caller(node_secret_hash=self._secret_hash)
        raise Denied(*TOKEN_NOT_FOUND)

    def sources(self, state: State) -> tuple[Source, ...]:
        """The token and policies that the rights come from; () while access control is off. Raises as `rights` does."""
        if not self.restricted:
            return ()
        return state.access.sources(self.rights(state).token)

    def rights_moved_since(self, state: State, index: int) -> bool:
        """Whether the rights may have changed since FSM index `index`; True when the token is gone."""
        try:
            return any(state.access.moved_since(kind, index, id) for kind, id in self.sources(state))
        except Denied:
            return True

    def name(self, state: State) -> str:
        """The key of limits and of idempotency keys: the token, otherwise the node, otherwise the client's address."""
        try:
            identity = self.identity(state)
        except Denied:
            identity = None
        if identity is not None and identity.accessor_id:
            return f"token {identity.accessor_id}"
        if identity is not None and identity.node_secret_hash:
            return f"node {identity.node_secret_hash.hex()}"
        return f"address {self.address}"


ANYBODY = HttpCaller(restricted=False)
"""Any caller while access control is off, and the caller of a call without a request."""
