"""The namespaces' endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from volstore.core.acl.apply import namespace_refusal
from volstore.core.acl.check import Rights
from volstore.core.acl.commands import DeleteNamespace, PutNamespace
from volstore.core.commands import Command
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.endpoints.filter_shapes import NAMESPACE
from volstore.http.endpoints.paging import Asked, Order, answer, wanted
from volstore.http.endpoints.render import namespace_view
from volstore.http.endpoints.views import NamespaceView, encode
from volstore.http.endpoints.volumes import no_body
from volstore.http.json.names import REQUESTS
from volstore.http.json.parameters import BLOCKING, LISTING
from volstore.http.json.reader import read_json
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import Object, Text
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.caller import HttpCaller
from volstore.http.server.declaration import Absent, Question, Read, Write
from volstore.http.server.rights import nothing, sees_namespace
from volstore.http.server.watch import NamespacesTopic, Topic

_ORDER = Order(attrgetter("name"))

_MISSING = "Missing Namespace Name"


@dataclass(frozen=True, slots=True)
class ListNamespaces:
    """Those that the caller has any right in."""

    caller: HttpCaller
    prefix: str
    want: Asked

    def topic(self, state: State) -> tuple[Topic, str]:
        return NamespacesTopic(), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.namespaces_moved_since(index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        acl = self.caller.rights(state).acl
        shown = [
            namespace
            for namespace in state.namespaces()
            if namespace.name.startswith(self.prefix) and sees_namespace(acl, namespace.name)
        ]
        return await answer(shown, self.want, _ORDER, namespace_view, NAMESPACE)


@dataclass(frozen=True, slots=True)
class ReadNamespace:
    name: str

    def topic(self, state: State) -> tuple[Topic, str]:
        return NamespacesTopic(), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.namespace_moved_since(self.name, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        namespace = state.namespace(self.name)
        if namespace is None:
            raise Absent("Namespace not found")
        return Reply(json=Json(encode(namespace_view(namespace))))


@dataclass(frozen=True, slots=True)
class NamespaceBody:
    name: str = ""
    description: str = ""


BODY: Object[NamespaceBody] = Object(
    NamespaceBody,
    {"Name": ("name", Text(longest=1024, one_line=True)), "Description": ("description", Text(longest=4096))},
    passed=("Hash", "CreateIndex", "ModifyIndex", *REQUESTS),
)


def _list(call: Call) -> Question:
    return ListNamespaces(call.caller, call.query.text("prefix"), wanted(call.query, NAMESPACE))


def _read(call: Call) -> Question:
    return ReadNamespace(call.path_id(_MISSING))


def _put(call: Call) -> Command:
    name, body = call.path_id(_MISSING), read_json(call.body, BODY)
    if body.name not in ("", name):
        raise ApiError(400, "Namespace name does not match request path")
    return _checked(name, body.description)


def _put_unnamed(call: Call) -> Command:
    """As Nomad's clients do it, by the name in the body."""
    body = read_json(call.body, BODY)
    return _checked(body.name, body.description)


def _checked(name: str, description: str) -> Command:
    refusal = namespace_refusal(name, description)
    if refusal is not None:
        raise ApiError(*refusal)
    return PutNamespace(name, description)


def _delete(call: Call) -> Command:
    return DeleteNamespace(call.path_id(_MISSING))


def _sees(call: Call, state: State, rights: Rights) -> bool:
    return sees_namespace(rights.acl, call.ids[0])


LIST = Read(
    name="listNamespaces",
    need=nothing,
    summary="List namespaces",
    answer=list[NamespaceView],
    parameters=("prefix", *LISTING, *BLOCKING),
    ask=_list,
)
READ = Read(
    name="readNamespace",
    need=_sees,
    summary="Read one namespace",
    answer=NamespaceView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_read,
)
PUT = Write(
    name="putNamespace",
    summary="Make or change a namespace",
    body=BODY,
    command=_put,
    render=no_body,
    index_only=True,
)
PUT_UNNAMED = Write(
    name="putNamedNamespace",
    summary="Make or change the namespace that the body names",
    body=BODY,
    command=_put_unnamed,
    render=no_body,
    index_only=True,
)
DELETE = Write(
    name="deleteNamespace",
    summary="Remove a namespace that holds nothing",
    statuses=(404,),
    command=_delete,
    render=no_body,
    index_only=True,
)
