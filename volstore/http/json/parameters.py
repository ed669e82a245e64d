"""The query string: its parameters, how each is read, and what the OpenAPI document says of them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

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
        return "stale" in self._members and "consistent" not in self._members

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
        if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _INT32_MAX:
            raise ApiError(400, f'Invalid per_page: "{printable(text, 32)}"; expected a whole number from 0')
        return int(text)

    def flag(self, name: str) -> bool:
        """A boolean in Go's spellings; absent and empty are false."""
        text = self.text(name)
        if text in ("", "0", "f", "F", "false", "False", "FALSE"):
            return False
        if text in ("1", "t", "T", "true", "True", "TRUE"):
            return True
        raise ApiError(400, f'Invalid {name}: "{printable(text, 32)}"; expected true or false')

    @property
    def after(self) -> tuple[str, str] | None:
        """The key that `next_token` says the page before ended with."""
        text = self.text("next_token")
        return decode_token(text) if text else None


def encode_token(namespace: str, id: str) -> str:
    """An opaque token for "after this volume"."""
    return base64.urlsafe_b64encode(f"{namespace}\0{id}".encode()).decode().rstrip("=")


def decode_token(token: str) -> tuple[str, str]:
    try:
        padded = token + "=" * (-len(token) % 4)
        namespace, id = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("\0")
    except (binascii.Error, ValueError):
        raise _bad_token(token) from None
    if encode_token(namespace, id) != token:
        raise _bad_token(token)
    return namespace, id


def _bad_token(token: str) -> ApiError:
    return ApiError(400, f'Invalid next_token: "{printable(token, 64)}"; give back X-Nomad-NextToken as it came')


@dataclass(frozen=True, slots=True)
class Parameter:
    """What the OpenAPI document says of a parameter. `required` ones make no sense to leave out."""

    describe: str
    schema: dict[str, Any]
    required: bool = False


_TEXT = {"type": "string"}
_DURATION = {"type": "string", "pattern": r"^(0|([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h))+)$"}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": _INT32_MAX}

EVERYWHERE = ("region", "pretty")
READS = ("stale", "consistent", "max_stale")
BLOCKING = (*READS, "index", "wait")

PARAMETERS: dict[str, Parameter] = {
    "region": Parameter("The cluster's region; another one is refused.", _TEXT),
    "pretty": Parameter("Indent the answer; 0 doesn't.", _TEXT),
    "namespace": Parameter("The namespace; default when absent.", _TEXT),
    "stale": Parameter("Answer from this node's state, whatever its age.", _TEXT),
    "consistent": Parameter("Linearizable, as without it.", _TEXT),
    "max_stale": Parameter(
        "Answer from this node's state if it heard from the leader within this time, else linearizable.", _DURATION
    ),
    "index": Parameter("Wait until the answer changed after this index.", {"type": "integer", "minimum": 0}),
    "wait": Parameter("Wait no longer than this (Go duration, at most 10m); default 5m.", _DURATION),
    "prefix": Parameter("Only what has an ID that begins so.", _TEXT),
    "type": Parameter("csi; every other type has nothing.", _TEXT),
    "plugin_id": Parameter("Only volumes of plugins whose ID begins so.", _TEXT),
    "node_id": Parameter("Only volumes claimed on nodes whose ID begins so.", _TEXT),
    "per_page": Parameter("Items per page; 0 for all.", _NUMBER),
    "next_token": Parameter("X-Nomad-NextToken of the page before.", _TEXT),
    "node": Parameter("The node to detach from.", _TEXT, required=True),
    "id": Parameter("The server's ID, or its name.", _TEXT),
    "address": Parameter("The server's raft HOST:PORT.", _TEXT),
    "format": Parameter("prometheus, or absent for JSON.", _TEXT),
    "global": Parameter("Only global tokens.", {"type": "boolean"}),
    "force": Parameter("Deregister though claimed, if every claimant is gone.", {"type": "boolean"}),
}
