"""The query string: its parameters, how each is read, and what the OpenAPI document says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from volstore.bexpr.literals import Unconvertible, parse_bool
from volstore.core.errors import ApiError
from volstore.core.model import DEFAULT_NAMESPACE
from volstore.http.json.shape import printable
from volstore.units import parse_duration

WAIT_DEFAULT = 300.0
WAIT_LONGEST = 600.0
WAIT_JITTER = 1 / 16
"""A wait is longer by up to this part of it, drawn at random, so that waiters who came together don't go together."""

MOST_PARAMETERS = 64
_UINT64_MAX = 2**64 - 1
_INT32_MAX = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,10}")


class Query:
    """A decoded query string; of a parameter given twice the first counts, as in Go."""

    __slots__ = ("_members",)

    def __init__(self, raw: str) -> None:
        self._members: dict[str, str] = {}
        if not raw:
            return
        try:
            raw.encode()
            pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
        except UnicodeError:
            raise ApiError(400, "validation: the query is not UTF-8") from None
        except ValueError:
            raise ApiError(400, f"validation: the query has more than {MOST_PARAMETERS} parameters") from None
        for name, value in pairs:
            self._members.setdefault(name, value)

    def text(self, name: str) -> str:
        """The parameter's value; "" when it is absent."""
        return self._members.get(name, "")

    def given(self, name: str) -> bool:
        return name in self._members

    @property
    def pretty(self) -> bool:
        return self._members.get("pretty", "0") != "0"

    @property
    def namespace(self) -> str:
        return self._members.get("namespace") or DEFAULT_NAMESPACE

    @property
    def stale(self) -> bool:
        """Whether any age is good enough; `consistent` wins when both are given, as it is the one that can't hurt."""
        given = self._members.get("stale")
        if given not in (None, "", "true", "false"):
            raise ApiError(400, "Expect `true` or `false` for `stale` query string parameter")
        return given in ("", "true") and "consistent" not in self._members

    @property
    def max_stale(self) -> float | None:
        """Seconds since this node heard from the leader up to which its own state is good enough; None: not asked."""
        if "max_stale" not in self._members or "consistent" in self._members:
            return None
        try:
            return parse_duration(self._members["max_stale"])
        except ValueError as error:
            raise ApiError(400, f"Invalid max_stale: {error}") from None

    @property
    def index(self) -> int:
        """The index to wait beyond; 0 for an answer at once."""
        text = self.text("index")
        if not text:
            return 0
        if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > _UINT64_MAX:
            raise ApiError(400, f'Invalid index: "{printable(text, 32)}"; expected a whole number from 0')
        return int(text)

    @property
    def wait(self) -> float:
        """How long to wait at most, in seconds, before jitter. Absent and zero are the default, as in the reference."""
        text = self.text("wait")
        if not text:
            return WAIT_DEFAULT
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            raise ApiError(400, f"Invalid wait time: {error}") from None
        return min(seconds, WAIT_LONGEST) or WAIT_DEFAULT

    @property
    def per_page(self) -> int:
        """Items per page; 0 for all of them."""
        text = self.text("per_page")
        if not text:
            return 0
        if not _DIGITS.fullmatch(text) or int(text) > _INT32_MAX:
            raise ApiError(400, "Expect a number for `per_page` query string parameter")
        return int(text)

    @property
    def reverse(self) -> bool:
        """Only `true` turns a list round, in Nomad; what is neither it nor false is refused here, not passed over."""
        text = self.text("reverse")
        if text not in ("", "true", "false"):
            raise ApiError(400, "Expect `true` or `false` for `reverse` query string parameter")
        return text == "true"

    def flag(self, name: str) -> bool:
        """A boolean in Go's spellings; absent and empty are false."""
        text = self.text(name)
        if text in ("", "0", "f", "F", "false", "False", "FALSE"):
            return False
        if text in ("1", "t", "T", "true", "True", "TRUE"):
            return True
        raise ApiError(400, f'Invalid {name}: "{printable(text, 32)}"; expected true or false')

    def field_flag(self, name: str, absent: bool = False, doing: str = "") -> bool:
        """A boolean that chooses fields, with Nomad's text for a bad one; `doing` is said before it."""
        text = self.text(name)
        try:
            return parse_bool(text) if text else absent
        except Unconvertible as error:
            raise ApiError(
                400, f'{doing}Failed to parse value of "{name}" ({printable(text, 32)}) as a bool: {error}'
            ) from None

    def check(self, known: frozenset[str]) -> None:
        """Raises ApiError 400 for a parameter that isn't `known`: to pass it over would be to answer another question.

        A name that differs in its case alone is another: to Go too. `stale` is read also where any age is right.
        """
        if self._members.keys() <= known:
            if "stale" in self._members or "max_stale" in self._members:
                _ = self.stale, self.max_stale
            return
        unknown = ", ".join(f'"{printable(name, 64)}"' for name in sorted(self._members.keys() - known)[:8])
        raise ApiError(
            400, f"validation: the query parameter {unknown} means nothing here; known are {', '.join(sorted(known))}"
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the OpenAPI document. `required` ones make no sense to leave out."""

    describe: str
    schema: dict[str, Any]
    required: bool = False


_TEXT = {"type": "string"}
_DURATION = {"type": "string", "pattern": r"^(0|([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h))+)$"}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": _INT32_MAX}

EVERYWHERE = ("region", "pretty", "namespace")
"""Clients send the namespace that they are set to with every request, also where there is nothing in one."""
READS = ("stale", "consistent", "max_stale")
BLOCKING = (*READS, "index", "wait")
LISTING = ("filter", "per_page", "next_token", "reverse")
WRITING = ("idempotency_token",)

PARAMETERS: dict[str, Parameter] = {
    "region": Parameter("The cluster's region; another one is refused.", _TEXT),
    "pretty": Parameter("Indent the answer; 0 doesn't.", _TEXT),
    "namespace": Parameter("The namespace; default when absent.", _TEXT),
    "stale": Parameter(
        "Answer from this node's state, whatever its age; false: linearizable.",
        {"type": "string", "enum": ["", "true", "false"]},
    ),
    "consistent": Parameter("Linearizable, as without it.", _TEXT),
    "max_stale": Parameter(
        "Answer from this node's state if it heard from the leader within this time, else linearizable.", _DURATION
    ),
    "index": Parameter("Wait until the answer changed after this index.", {"type": "integer", "minimum": 0}),
    "wait": Parameter("Wait no longer than this (Go duration, at most 10m); default 5m.", _DURATION),
    "prefix": Parameter("Only what has an ID that begins so.", _TEXT),
    "type": Parameter("csi; there is nothing of others.", _TEXT),
    "plugin_id": Parameter("Only volumes of plugins whose ID begins so.", _TEXT),
    "node_id": Parameter("Only volumes claimed on nodes whose ID begins so.", _TEXT),
    "per_page": Parameter("Items per page; 0 for all.", _NUMBER),
    "next_token": Parameter("X-Nomad-NextToken of the page before: the key of this one's first row.", _TEXT),
    "reverse": Parameter("From the last row to the first.", {"type": "string", "enum": ["", "true", "false"]}),
    "filter": Parameter("Only rows that this expression (go-bexpr) takes, over the fields that a read shows.", _TEXT),
    "idempotency_token": Parameter("As the header Idempotency-Key.", _TEXT),
    "os": Parameter("Show each node's Attributes, as far as they were reported.", {"type": "boolean"}),
    "resources": Parameter("Show resources, as far as they were reported.", {"type": "boolean"}),
    "task_states": Parameter("Show TaskStates; true when absent.", {"type": "boolean"}),
    "snapshot_id": Parameter("The snapshot's ID at its provider.", _TEXT),
    "node": Parameter("The node to detach from.", _TEXT, required=True),
    "id": Parameter("The server's ID, or its name.", _TEXT),
    "address": Parameter("The server's raft HOST:PORT.", _TEXT),
    "format": Parameter("prometheus, or absent for JSON.", _TEXT),
    "global": Parameter("Only global tokens.", {"type": "boolean"}),
    "force": Parameter("Deregister though claimed, if every claimant is gone.", {"type": "boolean"}),
}
