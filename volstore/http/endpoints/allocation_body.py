"""An allocation's report: Nomad's list stub, checked against Go's types where it is known, and kept whole.

A Go client refuses a whole answer for one field of another type, so what came wrong must not come in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from volstore.core.model import CLIENT_STATUSES, DEFAULT_NAMESPACE, DESIRED_STATUSES, Allocation
from volstore.http.endpoints.node_body import TimeKind
from volstore.http.endpoints.volume_body import IDENTIFIER, NAME
from volstore.http.json.names import REQUESTS, Names
from volstore.http.json.reader import read_json
from volstore.http.json.scan import DEEPEST
from volstore.http.json.shape import (
    INT64_MIN,
    MOST_MEMBERS,
    Boolean,
    FlatOrWrapped,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Misshapen,
    Text,
    expected,
    too_many,
)

_UINT64_MAX = 2**64 - 1
_INDEXES = ("CreateIndex", "ModifyIndex")


class AnythingKind:
    """JSON that is kept as it came, if each member can hold it and Go's clients can read it."""

    def read(self, value: object) -> object:
        self._check(value, 0)
        return value

    def _check(self, value: object, depth: int) -> None:
        if depth > DEEPEST:
            raise Misshapen(f"nested more than {DEEPEST} levels deep")
        match value:
            case None | bool():
                pass
            case int():
                if not INT64_MIN <= value <= _UINT64_MAX:
                    raise Misshapen("a number beyond 64 bits")
            case float():
                if not math.isfinite(value):
                    raise Misshapen("a number beyond what 64 bits can hold")
            case str():
                _TEXT.read(value)
            case list() | dict() if len(value) > MOST_MEMBERS:
                raise too_many(f"{len(value)} members", MOST_MEMBERS)
            case list():
                for place, member in enumerate(value):
                    self._inside(place, member, depth)
            case dict():
                for name, member in value.items():
                    _TEXT.read(name)
                    self._inside(name, member, depth)
            case _:
                raise expected("JSON", value)

    def _inside(self, step: str | int, member: object, depth: int) -> None:
        try:
            self._check(member, depth + 1)
        except Misshapen as error:
            raise error.inside(step) from None

    def schema(self) -> dict[str, Any]:
        return {}


class GoTimeKind:
    """A time in RFC 3339, or null. An empty text is none to Go."""

    _time = TimeKind()

    def read(self, value: object) -> str:
        if value == "":
            raise Misshapen('expected a time like "2006-01-02T15:04:05Z" or null, got an empty text')
        return self._time.read(value)

    def schema(self) -> dict[str, Any]:
        return self._time.schema()


class Checked:
    """An object that is kept as it came, in which the members of these names are of these kinds.

    Go finds a member in any case (`modifytime` is ModifyTime to it, whichever comes last): such a one is refused.
    """

    def __init__(self, members: Mapping[str, Kind[Any]]) -> None:
        self.members = members
        self._names = {name.lower(): name for name in members}

    def read(self, value: object) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise expected("an object", value)
        for name, member in value.items():
            try:
                if name not in self.members and (meant := self._names.get(name.lower())):
                    raise Misshapen(f"Go's clients would take it for {meant}: write it so, or leave it out")
                _TEXT.read(name)
                self.members.get(name, ANYTHING).read(member)
            except Misshapen as error:
                raise error.inside(name) from None
        return value

    def schema(self) -> dict[str, Any]:
        return {
            "type": ["object", "null"],
            "properties": {name: kind.schema() for name, kind in self.members.items()},
        }


ANYTHING = AnythingKind()
_TEXT = Text()
_INT = Integer()
_UINT = Integer(minimum=0, maximum=_UINT64_MAX)
_BOOLEAN = Boolean()
_TIME = GoTimeKind()

_TASK_EVENT = Checked(
    {
        "Type": _TEXT,
        "Time": _INT,
        "Message": _TEXT,
        "DisplayMessage": _TEXT,
        "Details": MapOf(_TEXT, key=_TEXT),
        "FailsTask": _BOOLEAN,
        "RestartReason": _TEXT,
        "SetupError": _TEXT,
        "DriverError": _TEXT,
        "DriverMessage": _TEXT,
        "ExitCode": _INT,
        "Signal": _INT,
        "KillReason": _TEXT,
        "KillTimeout": _INT,
        "KillError": _TEXT,
        "StartDelay": _INT,
        "DownloadError": _TEXT,
        "ValidationError": _TEXT,
        "DiskLimit": _INT,
        "DiskSize": _INT,
        "FailedSibling": _TEXT,
        "VaultError": _TEXT,
        "TaskSignalReason": _TEXT,
        "TaskSignal": _TEXT,
        "GenericSource": _TEXT,
    }
)
_TASK_STATE = Checked(
    {
        "State": _TEXT,
        "Failed": _BOOLEAN,
        "Restarts": _UINT,
        "LastRestart": _TIME,
        "StartedAt": _TIME,
        "FinishedAt": _TIME,
        "Events": ListOf(_TASK_EVENT),
    }
)
_RESCHEDULE_EVENT = Checked({"RescheduleTime": _INT, "PrevAllocID": _TEXT, "PrevNodeID": _TEXT, "Delay": _INT})
_TRANSITION = Checked({"Migrate": _BOOLEAN, "Reschedule": _BOOLEAN, "ForceReschedule": _BOOLEAN})
_DEPLOYMENT = Checked({"Healthy": _BOOLEAN, "Timestamp": _TIME, "Canary": _BOOLEAN, "ModifyIndex": _UINT})

_STUB = Checked(
    {
        "ID": IDENTIFIER,
        "EvalID": _TEXT,
        "Name": _TEXT,
        "Namespace": NAME,
        "NodeID": IDENTIFIER,
        "NodeName": _TEXT,
        "JobID": NAME,
        "JobType": _TEXT,
        "JobVersion": _UINT,
        "TaskGroup": _TEXT,
        "DesiredStatus": Text(one_of=DESIRED_STATUSES),
        "DesiredDescription": _TEXT,
        "DesiredTransition": _TRANSITION,
        "ClientStatus": Text(one_of=CLIENT_STATUSES),
        "ClientDescription": _TEXT,
        "TaskStates": MapOf(_TASK_STATE, key=_TEXT),
        "DeploymentStatus": _DEPLOYMENT,
        "FollowupEvalID": _TEXT,
        "RescheduleTracker": Checked({"Events": ListOf(_RESCHEDULE_EVENT)}),
        "PreviousAllocation": _TEXT,
        "NextAllocation": _TEXT,
        "PreemptedAllocations": ListOf(_TEXT),
        "PreemptedByAllocation": _TEXT,
        "CreateIndex": _UINT,
        "ModifyIndex": _UINT,
        "CreateTime": _INT,
        "ModifyTime": _INT,
    }
)


class AllocationKind:
    """One stub. What the registry works out itself, its indexes, isn't kept."""

    def read(self, value: object) -> Allocation:
        if value is None:
            raise Misshapen("missing allocation definition: expected an object, got null")
        stub = _STUB.read(value)
        return Allocation(
            id=stub.get("ID") or "",
            namespace=stub.get("Namespace") or "",
            node_id=stub.get("NodeID") or "",
            job_id=stub.get("JobID") or "",
            client_status=stub.get("ClientStatus") or "",
            desired_status=stub.get("DesiredStatus") or "",
            stub={name: member for name, member in stub.items() if name not in _INDEXES},
        )

    def schema(self) -> dict[str, Any]:
        return {
            **_STUB.schema(),
            "type": "object",
            "required": ["NodeID", "JobID", "ClientStatus", "DesiredStatus"],
        }


ALLOCATION = AllocationKind()


class ManyKind:
    """`{"Allocations": [{…}, …]}`, at least one."""

    _list: ListOf[Allocation] = ListOf(ALLOCATION)
    list_name, most = "Allocations", _list.most
    member: Kind[Allocation] = ALLOCATION
    names = Names(("Allocations",), REQUESTS)

    def read(self, value: object) -> tuple[Allocation, ...]:
        if not isinstance(value, dict):
            raise expected("an object", value)
        value = self.names.exact(value)
        try:
            allocations = self._list.read(value.get("Allocations"))
        except Misshapen as error:
            raise error.inside("Allocations") from None
        if not allocations:
            raise Misshapen('missing allocation definition: expected {"Allocations": [...]}')
        return allocations

    def schema(self) -> dict[str, Any]:
        stub = ALLOCATION.schema()
        return {
            "type": "object",
            "properties": {"Allocations": {"type": "array", "minItems": 1, "items": {**stub}}},
            "required": ["Allocations"],
        }


ONE = FlatOrWrapped("Allocation", ALLOCATION)
MANY = ManyKind()


def read_allocation(body: bytes) -> Allocation:
    """Raises InvalidBody."""
    return read_json(body, ONE)


def read_allocations(body: bytes) -> tuple[Allocation, ...]:
    """Raises InvalidBody."""
    return read_json(body, MANY)


def stub_of(allocation: Allocation) -> dict[str, Any]:
    """What is shown of an allocation: what was reported, field by field, under the registry's own indexes."""
    return {
        **allocation.stub,
        "CreateIndex": allocation.create_index,
        "ID": allocation.id,
        "ModifyIndex": allocation.modify_index,
        "Namespace": allocation.namespace or DEFAULT_NAMESPACE,
    }
