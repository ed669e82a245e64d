"""The declaration of an endpoint; `pipeline.py` does the rest, the same for all endpoints of a kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from volstore.core.commands import Command, Outcome
from volstore.core.errors import ApiError
from volstore.core.rules import Refusal
from volstore.core.state import State
from volstore.http.json.parameters import EVERYWHERE, READS, WRITING
from volstore.http.json.reader import PIECE_BYTES
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import Batch, Kind
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.rights import Rule, management
from volstore.http.server.watch import Topic


class Absent(ApiError):
    """A 404 that carries the index: blocking queries wait for removals too."""

    def __init__(self, text: str) -> None:
        super().__init__(404, text)


class Question(Protocol):
    """A query of the state. Each method gets the present state: it isn't kept between calls."""

    def topic(self, state: State) -> tuple[Topic, str]:
        """The topic of a blocking query, and the plugin whose changes wake it too ("" for none)."""
        ...

    def moved_since(self, state: State, index: int) -> bool: ...

    async def answer(self, state: State, contact: Contact) -> Reply:
        """It must read the state before it first yields. Raises Absent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one route, as the OpenAPI document names and describes it.

    `parameters` are names of `parameters.PARAMETERS`; `statuses` those it has besides the ones of its kind;
    `answer` is the type of its JSON, None for an empty body.
    """

    name: str
    summary: str
    need: Rule
    """The rule for its caller's rights."""
    answer: Any = None
    parameters: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    body: Kind[Any] | None = None
    largest_body: int = 0
    """Bytes that are taken of a body that is no JSON; 0: none is."""
    batch: Batch[Any] | None = None
    """`body`, where it is a batch: a large one is read in turns, before the endpoint sees it."""
    straight: bool = False
    """`body` is read straight into structs, in a few milliseconds for a megabyte: it may be as large as any."""
    query: tuple[str, ...] = field(init=False)
    """Every query parameter that it knows; another is refused."""
    known: frozenset[str] = field(init=False)
    """The same."""
    always: ClassVar[tuple[str, ...]] = EVERYWHERE
    """Query parameters of all endpoints of its kind."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "query", tuple(dict.fromkeys((*self.always, *self.parameters))))
        object.__setattr__(self, "known", frozenset(self.query))

    def body_limit(self, most: int) -> int:
        """Bytes that are taken of a body where `most` are taken of any; 0: none is.

        A body that is no batch is read in one turn, so it must be small enough for one.
        """
        if self.largest_body or self.body is None:
            return self.largest_body
        return most if self.batch is not None or self.straight else min(most, PIECE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Endpoint):
    """parse → authorize → barrier → query → wait? → render. `ask` None: what to answer reads no state (no type)."""

    ask: Callable[[Call], Question | Reply]
    blocking: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Endpoint):
    """parse → validate → authorize → submit → render. `render` gives the answer's JSON, None for an empty body.

    What it needs is its command's business (`core.acl.check`). `before_body`: whether there is a body with which the
    caller may send it, never less than `core.acl.check.ALLOWED` grants; it is asked before any body is read.
    `need` is `nothing` for a write that proves itself in another way.
    `foresee`: why a command is certain to be refused, as the state has it: then it costs no entry of the log.
    `unchanged`: the command would change nothing, as the state after a barrier has it: it succeeds without an entry.
    `index_only`: of the three headers of freshness the answer carries the index alone, as Nomad's does here.
    """

    need: Rule = management
    before_body: Rule = management
    command: Callable[[Call], Command]
    render: Callable[[Call, Command, Outcome], Json | None]
    foresee: Callable[[State, Command], Refusal | None] | None = None
    index_only: bool = False
    unchanged: Callable[[State, Command], bool] | None = None
    always: ClassVar[tuple[str, ...]] = (*EVERYWHERE, *WRITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Local(Endpoint):
    """An answer from this node alone: no barrier and no index, so it may be of any age."""

    always: ClassVar[tuple[str, ...]] = (*EVERYWHERE, *READS)
    reply: Callable[[Call], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Endpoint):
    """What an operator has a node do, or asks it, beside the state: no barrier, no index.

    `on_leader`: it is done where the leader is, to which other nodes send it on.
    """

    always: ClassVar[tuple[str, ...]] = (*EVERYWHERE, *READS)
    reply: Callable[[Call], Awaitable[Reply]]
    on_leader: bool = False
