"""Search: IDs that begin with a prefix, over the kinds of things that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice

from volstore.core.acl.check import READ_JOB
from volstore.core.acl.rights import Acl
from volstore.core.errors import ApiError
from volstore.core.queries import VolumeQuery
from volstore.core.state import State
from volstore.http.endpoints.views import SearchView, encode
from volstore.http.json.names import REQUESTS
from volstore.http.json.parameters import READS
from volstore.http.json.reader import read_json
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import Object, Text, printable
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.caller import HttpCaller
from volstore.http.server.declaration import Question, Read
from volstore.http.server.rights import LIST_VOLUMES, Need, visible_namespaces
from volstore.http.server.watch import Topic

MOST = 20
"""IDs given of each kind; that there are more is told in Truncations."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    prefix: str = ""
    context: str = ""


BODY: Object[SearchRequest] = Object(
    SearchRequest,
    {"Prefix": ("prefix", Text(longest=1024)), "Context": ("context", Text(longest=1024))},
    passed=("AllowStale", *REQUESTS),
)

_Found = Callable[[State, str | None, str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Context:
    """A kind of thing: what is found of it in a namespace (None: in all), and who may see it.

    `one_of` are capabilities for what is in namespaces, `area` and its level for what isn't.
    """

    found: _Found
    one_of: tuple[str, ...] = ()
    area: tuple[str, str] = ("", "")

    def seen(self, state: State, acl: Acl, namespace: str | None, prefix: str) -> Iterable[str] | None:
        """What `acl` may see of it; None when that is nothing at all."""
        if not self.one_of:
            return self.found(state, None, prefix) if acl.allows_area(*self.area) else None
        if namespace is not None:
            return self.found(state, namespace, prefix) if acl.allows_one(self.one_of, namespace) else None
        visible = visible_namespaces(state, acl, self.one_of)
        if visible is None:
            return self.found(state, None, prefix)
        return chain.from_iterable(self.found(state, name, prefix) for name in visible) if visible else None


_CONTEXTS: dict[str, Context] = {
    "allocs": Context(
        lambda state, namespace, prefix: (allocation.id for allocation in state.allocations(prefix, namespace)),
        one_of=READ_JOB,
    ),
    "nodes": Context(
        lambda state, namespace, prefix: (node.id for node in state.nodes(prefix)),
        area=("node", "read"),
    ),
    "plugins": Context(
        lambda state, namespace, prefix: (plugin.id for plugin in state.plugins() if plugin.id.startswith(prefix)),
        area=("plugin", "list"),
    ),
    "volumes": Context(
        lambda state, namespace, prefix: (
            volume.id for volume in state.volumes(VolumeQuery(namespace=namespace, prefix=prefix))
        ),
        one_of=LIST_VOLUMES,
    ),
}


@dataclass(frozen=True, slots=True)
class Search:
    namespace: str | None
    prefix: str
    contexts: tuple[str, ...]
    caller: HttpCaller

    def topic(self, state: State) -> tuple[Topic, str]:
        raise AssertionError("a search answers at once: its endpoint takes no index")

    def moved_since(self, state: State, index: int) -> bool:
        return True

    async def answer(self, state: State, contact: Contact) -> Reply:
        matches: dict[str, list[str] | None] = {}
        truncations = {}
        acl = self.caller.rights(state).acl
        for context in self.contexts:
            seen = _CONTEXTS[context].seen(state, acl, self.namespace, self.prefix)
            if seen is None:
                continue  # left out, as in the reference: an empty list would say that there is none
            found = list(islice(seen, MOST + 1))
            matches[context] = found[:MOST] or None
            truncations[context] = len(found) > MOST
        return Reply(
            json=Json(
                encode(
                    SearchView(
                        index=max(state.index, 1),
                        known_leader=contact.known_leader,
                        last_contact=contact.last_contact,
                        matches=matches,
                        truncations=truncations,
                    )
                )
            )
        )


def _ask(call: Call) -> Question:
    request = read_json(call.body, BODY)
    namespace = call.query.namespace
    return Search(None if namespace == "*" else namespace, request.prefix, _contexts(request.context), call.caller)


def _contexts(context: str) -> tuple[str, ...]:
    if context in ("", "all"):
        return tuple(_CONTEXTS)
    if context not in _CONTEXTS:
        raise ApiError(
            400,
            f"context must be one of [{' '.join(_CONTEXTS)}] or 'all' for all contexts; got \"{printable(context)}\"",
        )
    return (context,)


_ONE_OF = ("read-job", "list-jobs", "csi-list-volume", "csi-read-volume")

SEARCH = Read(
    name="search",
    need=Need(_ONE_OF, area=("node", "read")),
    summary="Find IDs by their beginning",
    answer=SearchView,
    parameters=("namespace", *READS),
    body=BODY,
    ask=_ask,
    blocking=False,
)
