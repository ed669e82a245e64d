"""The tokens' endpoints, and the bootstrap that makes the first of them."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

import structlog

from volstore.core.acl.apply import bootstrap_refusal, token_refusal
from volstore.core.acl.check import TOKEN_NOT_FOUND, Rights
from volstore.core.acl.commands import BootstrapAcl, DeleteAclToken, PutAclToken
from volstore.core.acl.tables import TOKEN, AclToken
from volstore.core.commands import Command, Outcome
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.endpoints.acl_views import AclTokenView, token_view
from volstore.http.endpoints.filter_shapes import ACL_TOKEN
from volstore.http.endpoints.paging import Asked, Order, answer, by_index_and, wanted
from volstore.http.endpoints.views import encode
from volstore.http.endpoints.volumes import no_body
from volstore.http.json.parameters import BLOCKING, LISTING
from volstore.http.json.reader import InvalidBody, read_json
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import Boolean, ListOf, Misshapen, Object, Text, expected
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.caller import Denied, HttpCaller, hash_secret
from volstore.http.server.declaration import Absent, Question, Read, Write
from volstore.http.server.rights import management, must_be_on, nothing
from volstore.http.server.watch import AccessTopic, Topic
from volstore.units import parse_duration

_log = structlog.get_logger("volstore.http")

MOST_POLICIES = 256
"""Of one token."""
_BY_ACCESSOR = Order(attrgetter("accessor_id"))
_AS_MADE = by_index_and(attrgetter("accessor_id"))
_LINE = Text(longest=1024, one_line=True)

_MISSING = "Missing Token Accessor"


@dataclass(frozen=True, slots=True)
class ListTokens:
    caller: HttpCaller
    prefix: str
    only_global: bool
    want: Asked

    def topic(self, state: State) -> tuple[Topic, str]:
        return AccessTopic(TOKEN), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.access.moved_since(TOKEN, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        tokens = state.access.sorted_tokens(self.caller.now(state))
        shown = [
            token
            for token in tokens
            if token.accessor_id.startswith(self.prefix) and (token.global_ or not self.only_global)
        ]
        order = _BY_ACCESSOR if self.prefix or self.only_global else _AS_MADE
        return await answer(shown, self.want, order, partial(token_view, state.access), ACL_TOKEN)


@dataclass(frozen=True, slots=True)
class ReadToken:
    """`accessor_id` None: the caller's own."""

    caller: HttpCaller
    accessor_id: str | None = None

    def topic(self, state: State) -> tuple[Topic, str]:
        return AccessTopic(TOKEN), ""

    def moved_since(self, state: State, index: int) -> bool:
        token = self._token(state)
        return state.access.moved_since(TOKEN, index, token.accessor_id if token is not None else self.accessor_id)

    async def answer(self, state: State, contact: Contact) -> Reply:
        token = self._token(state)
        if token is None:
            raise Denied(*TOKEN_NOT_FOUND) if self.accessor_id is None else Absent("ACL token not found")
        return Reply(json=Json(encode(token_view(state.access, token))))

    def _token(self, state: State) -> AclToken | None:
        if self.accessor_id is None:
            return self.caller.rights(state).token
        return state.access.token(self.accessor_id, self.caller.now(state))


def _list_tokens(call: Call) -> Question:
    must_be_on(call)
    query = call.query
    return ListTokens(call.caller, query.text("prefix"), query.flag("global"), wanted(call.query, ACL_TOKEN))


def _read_token(call: Call) -> Question:
    must_be_on(call)
    return ReadToken(call.caller, call.path_id(_MISSING))


def _read_own_token(call: Call) -> Question:
    must_be_on(call)
    return ReadToken(call.caller)


def _bootstrap(call: Call) -> Command:
    must_be_on(call)
    return BootstrapAcl(str(uuid.uuid4()), _draw(call), _reset_index(call.service.settings.bootstrap_reset))


def _reset_index(file: Path | None) -> int:
    """What the operator wrote in the file that allows to bootstrap again; 0 without one."""
    if file is None:
        return 0
    try:
        text = file.read_text(encoding="ascii").strip()
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError("it must hold an index and nothing else")
        return int(text)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        _log.warning("acl_bootstrap_reset_unreadable", file=str(file), reason=str(error))
        return 0


class TtlKind:
    """A Go duration ("8h"), or nanoseconds, as Go's clients send one; as nanoseconds."""

    def read(self, value: object) -> int:
        if value is None or value == "":
            return 0
        if isinstance(value, str):
            try:
                return round(parse_duration(value) * 10**9)
            except ValueError as error:
                raise Misshapen(str(error)) from None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONGEST_TTL:
            return value
        raise expected('a duration like "8h"', value)

    def schema(self) -> dict[str, object]:
        return {"type": ["string", "integer", "null"], "pattern": "^([0-9]+h)?$", "minimum": 0, "maximum": LONGEST_TTL}


LONGEST_TTL = 100 * 365 * 86400 * 10**9


@dataclass(frozen=True, slots=True)
class TokenBody:
    accessor_id: str = ""
    name: str = ""
    type: str = ""
    policies: tuple[str, ...] = ()
    global_: bool = False
    ttl: int = 0


TOKEN_BODY: Object[TokenBody] = Object(
    TokenBody,
    {
        "AccessorID": ("accessor_id", _LINE),
        "Name": ("name", _LINE),
        "Type": ("type", Text(longest=64, one_line=True)),
        "Policies": ("policies", ListOf(Text(longest=128, one_line=True))),
        "Global": ("global_", Boolean()),
        "ExpirationTTL": ("ttl", TtlKind()),
    },
    passed=("SecretID", "Hash", "CreateTime", "ExpirationTime", "CreateIndex", "ModifyIndex", "Region"),
)


def _make_token(call: Call) -> Command:
    """A new one, or (as Nomad does) a change of the one that the body names."""
    must_be_on(call)
    body = read_json(call.body, TOKEN_BODY)
    return _token_command(call, body)


def _change_token(call: Call) -> Command:
    must_be_on(call)
    accessor_id, body = call.path_id(_MISSING), read_json(call.body, TOKEN_BODY)
    if body.accessor_id != accessor_id:
        raise ApiError(400, "Token accessor does not match request path")
    return _token_command(call, body)


def _token_command(call: Call, body: TokenBody) -> Command:
    if len(body.policies) > MOST_POLICIES:
        raise InvalidBody(f"Policies: a token has at most {MOST_POLICIES} policies")
    if body.ttl > LONGEST_TTL:
        raise InvalidBody("ExpirationTTL: at most 100 years")
    new = not body.accessor_id
    command = PutAclToken(
        accessor_id=str(uuid.uuid4()) if new else body.accessor_id,
        secret_hash=_draw(call) if new else b"",
        name=body.name,
        kind=body.type,
        policies=body.policies,
        global_=body.global_,
        ttl=body.ttl,
    )
    refusal = token_refusal(command)
    if refusal is not None:
        raise ApiError(*refusal)
    return command


def _draw(call: Call) -> bytes:
    """A new secret, 122 random bits as a UUID: kept for this request's answer alone, and given on as its hash."""
    secret = str(uuid.uuid4())
    call.drawn.append(secret)
    return hash_secret(secret)


def _made(call: Call, command: Command, outcome: Outcome) -> Json:
    """The token as it was made or changed, with its secret if this very request made it.

    A repeat under an Idempotency-Key has the first outcome: the token that was made then, whose secret is known to
    nobody but its maker.
    """
    access = call.service.registry.state.access
    assert isinstance(command, BootstrapAcl | PutAclToken)
    token = access.token(command.accessor_id)
    if token is not None:
        return Json(encode(token_view(access, token, call.drawn[0] if call.drawn else None)))
    first = next((row for row in access.tokens if row.create_index == outcome.index), None)
    if first is None:
        raise ApiError(404, "ACL token not found: somebody else has removed it meanwhile")
    return Json(encode(token_view(access, first)))


def _delete_token(call: Call) -> Command:
    must_be_on(call)
    return DeleteAclToken(call.path_id(_MISSING))


def _own(call: Call, state: State, rights: Rights) -> bool:
    return rights.token is not None and rights.token.accessor_id == call.ids[0]


BOOTSTRAP = Write(
    name="bootstrapAcl",
    need=nothing,
    summary="Make the first management token",
    answer=AclTokenView,
    command=_bootstrap,
    foresee=bootstrap_refusal,
    render=_made,
    index_only=True,
)
LIST = Read(
    name="listAclTokens",
    need=management,
    summary="List tokens",
    answer=list[AclTokenView],
    parameters=("prefix", "global", *LISTING, *BLOCKING),
    ask=_list_tokens,
)
READ = Read(
    name="readAclToken",
    need=_own,
    summary="Read one token",
    answer=AclTokenView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_read_token,
)
READ_OWN = Read(
    name="readOwnAclToken",
    need=nothing,
    summary="Read the token that is asked with",
    answer=AclTokenView,
    parameters=BLOCKING,
    ask=_read_own_token,
)
MAKE = Write(
    name="makeAclToken",
    summary="Make a token; its secret is in this answer and nowhere else",
    answer=AclTokenView,
    statuses=(404,),
    body=TOKEN_BODY,
    command=_make_token,
    render=_made,
    index_only=True,
)
CHANGE = Write(
    name="changeAclToken",
    summary="Change a token",
    answer=AclTokenView,
    statuses=(404,),
    body=TOKEN_BODY,
    command=_change_token,
    render=_made,
    index_only=True,
)
DELETE = Write(name="deleteAclToken", summary="Remove a token", command=_delete_token, render=no_body, index_only=True)
