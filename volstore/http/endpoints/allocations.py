"""The allocations' endpoints: schedulers and node agents report what runs where (in the reference by internal RPC)."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from msgspec.structs import replace

from volstore.core.acl.check import READ_JOB, Rights
from volstore.core.commands import Command, DeleteAllocation, Outcome, ReportAllocations
from volstore.core.errors import ApiError
from volstore.core.model import Allocation
from volstore.core.rules import refused_parts
from volstore.core.state import State
from volstore.http.endpoints.allocation_body import MANY, ONE, read_allocation, read_allocations, stub_of
from volstore.http.endpoints.filter_shapes import ALLOCATION
from volstore.http.endpoints.paging import Asked, Order, answer, by_index_and, wanted
from volstore.http.endpoints.views import RefusedView, ReportedView, encode
from volstore.http.endpoints.volumes import no_body
from volstore.http.json.parameters import BLOCKING, LISTING
from volstore.http.json.replies import Json, Reply
from volstore.http.registry import Contact
from volstore.http.server.call import Call, path_disagrees
from volstore.http.server.caller import HttpCaller
from volstore.http.server.declaration import Absent, Question, Read, Write
from volstore.http.server.rights import Need, allows_somewhere, speaks_for_nodes
from volstore.http.server.watch import AllocationsTopic, AllocationTopic, Topic

_BY_ID = Order(attrgetter("id"))
_AS_MADE = by_index_and(attrgetter("id"))

_MISSING = "missing allocation ID"


@dataclass(frozen=True, slots=True)
class ListAllocations:
    prefix: str
    namespace: str | None
    want: Asked
    hidden: tuple[str, ...]
    """Fields of the stub that weren't asked for."""
    caller: HttpCaller

    def topic(self, state: State) -> tuple[Topic, str]:
        return AllocationsTopic(self.prefix, self.namespace), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.allocations_moved_since(self.prefix, self.namespace, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        acl = self.caller.rights(state).acl
        found = state.allocations(self.prefix, self.namespace)
        seen = [allocation for allocation in found if acl.allows_one(READ_JOB, allocation.namespace)]
        order = _BY_ID if self.prefix else _AS_MADE
        return await answer(seen, self.want, order, self._item, ALLOCATION, stub_of)

    def _item(self, allocation: Allocation) -> dict[str, Any]:
        stub = stub_of(allocation)
        for name in self.hidden:
            if name in stub:
                stub[name] = None
        return stub


@dataclass(frozen=True, slots=True)
class ReadAllocation:
    id: str

    def topic(self, state: State) -> tuple[Topic, str]:
        return AllocationTopic(self.id), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.allocation_moved_since(self.id, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        allocation = state.allocation(self.id)
        if allocation is None:
            raise Absent("alloc not found")
        return Reply(json=Json(encode(stub_of(allocation))))


def _list(call: Call) -> Question:
    query = call.query
    shown = {"AllocatedResources": query.field_flag("resources"), "TaskStates": query.field_flag("task_states", True)}
    return ListAllocations(
        query.text("prefix"),
        None if query.namespace == "*" else query.namespace,
        wanted(call.query, ALLOCATION),
        tuple(name for name, asked in shown.items() if not asked),
        call.caller,
    )


def _read(call: Call) -> Question:
    return ReadAllocation(call.path_id(_MISSING))


def _put(call: Call) -> Command:
    path_id, allocation = call.path_id(_MISSING), read_allocation(call.body)
    if allocation.id not in ("", path_id):
        raise path_disagrees("allocation", path_id, allocation.id)
    return ReportAllocations((_placed(call, replace(allocation, id=path_id)),))


def _put_many(call: Call) -> Command:
    allocations = read_allocations(call.body) if call.batch is None else call.batch
    return ReportAllocations(tuple(_placed(call, allocation) for allocation in allocations))


def _placed(call: Call, allocation: Allocation) -> Allocation:
    """In the namespace that its stub names, as schedulers report those of all namespaces at once; else in the query's.

    Raises ApiError where that is none: a list may be of every namespace, an allocation is in one.
    """
    namespace = allocation.namespace or call.query.namespace
    if namespace == "*":
        raise ApiError(400, 'validation: an allocation is in one namespace, not in "*"')
    return replace(allocation, namespace=namespace)


def _stored(call: Call, command: Command, outcome: Outcome) -> Json:
    """Which were stored, and which weren't and why."""
    if not isinstance(command, ReportAllocations):
        raise TypeError(f"{type(command).__name__} reports no allocations")
    refused = refused_parts(outcome)
    return Json(
        encode(
            ReportedView(
                refused=[RefusedView(error=error, id=id) for id, error in refused.items()],
                stored=[allocation.id for allocation in command.allocations if allocation.id not in refused],
            )
        )
    )


def _delete(call: Call) -> Command:
    return DeleteAllocation(call.path_id(_MISSING))


def _may_read(call: Call, state: State, rights: Rights) -> bool:
    """By the namespace that the allocation is in; by the request's where there is no such allocation."""
    allocation = state.allocation(call.ids[0])
    namespace = call.query.namespace if allocation is None else allocation.namespace
    return allows_somewhere(state, rights.acl, READ_JOB, namespace)


LIST = Read(
    name="listAllocations",
    need=Need(READ_JOB),
    summary="List allocations",
    answer=list[dict[str, Any]],
    parameters=("namespace", "prefix", "resources", "task_states", *LISTING, *BLOCKING),
    ask=_list,
)
READ = Read(
    name="readAllocation",
    need=_may_read,
    summary="Read one allocation",
    answer=dict[str, Any],
    parameters=BLOCKING,
    statuses=(404,),
    ask=_read,
)
PUT = Write(
    name="reportAllocation",
    before_body=speaks_for_nodes,
    summary="Report an allocation",
    parameters=("namespace",),
    body=ONE,
    command=_put,
    render=no_body,
)
PUT_MANY = Write(
    name="reportAllocations",
    before_body=speaks_for_nodes,
    summary="Report allocations; one that contradicts what it claims is refused, the others are stored",
    answer=ReportedView,
    parameters=("namespace",),
    body=MANY,
    batch=MANY,
    command=_put_many,
    render=_stored,
)
DELETE = Write(
    name="deleteAllocation", summary="Forget an allocation", statuses=(404,), command=_delete, render=no_body
)
