"""What a node's agent is answered, and what it sends, as structs with Go's spelling of every key.

They say what `volstore/node/work.py` says on the agent's side. Bodies are read straight into structs: a report of a
thousand volumes is too much for the reader of small things, and is read in a few milliseconds so.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from volstore.http.endpoints.views import go_name
from volstore.http.json.reader import InvalidBody

T = TypeVar("T")


class _Shape(Struct, frozen=True, kw_only=True, rename=go_name):
    """Go's spelling of every key; views have them sorted, as everything that is answered."""


class HostClaimView(_Shape, frozen=True, kw_only=True):
    """`Released`: it shall go, and stays listed until the node reported that it went."""

    allocation_id: str
    force: bool
    job_id: str
    mode: str
    namespace: str
    path: str
    released: bool
    reported: bool
    volume_id: str


class HostAttachmentView(_Shape, frozen=True, kw_only=True):
    """A physical volume that the node has, or is to have or to lose. Secrets are there while it is claimed."""

    access_mode: str
    attachment_mode: str
    claims: list[HostClaimView]
    epoch: int
    error: str
    external_id: str
    fs_type: str
    mount_flags: list[str]
    plugin_id: str
    publish_context: dict[str, str]
    secrets: dict[str, str]
    staged: bool
    state: str
    volume_context: dict[str, str]


class AssignedView(_Shape, frozen=True, kw_only=True):
    """A controller's call that is this node's to make. `Args` are the fields of the CSI request."""

    args: dict[str, Any]
    attempt: int
    id: str
    kind: str
    lease_ns: int
    plugin_id: str
    secrets: dict[str, str]


class RevokedView(_Shape, frozen=True, kw_only=True):
    external_id: str
    plugin_id: str


class WorkView(_Shape, frozen=True, kw_only=True):
    """All that the registry wants of a node's agent. `HeldNs`: how long the query was held before this answer."""

    attachments: list[HostAttachmentView]
    held_ns: int
    index: int
    operations: list[AssignedView]
    revoked: list[RevokedView]


class TargetBody(_Shape, frozen=True, kw_only=True):
    allocation_id: str
    state: str
    read_only: bool = False
    path: str = ""
    error: str = ""


class AttachmentBody(_Shape, frozen=True, kw_only=True):
    plugin_id: str
    external_id: str
    staged: bool
    targets: list[TargetBody] = []
    error: str = ""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a command can hold: a number beyond 64 bits is refused where it comes in."""


class UnexpectedBody(_Shape, frozen=True, kw_only=True):
    path: str
    plugin_id: str = ""
    external_id: str = ""
    allocation_id: str = ""


class HostReportBody(_Shape, frozen=True, kw_only=True):
    boot_id: str
    work_index: Count
    attachments: list[AttachmentBody] = []
    unexpected: list[UnexpectedBody] = []


class ReportedView(_Shape, frozen=True, kw_only=True):
    """`Index`: the state that the report was held against."""

    index: int


class OutcomeBody(_Shape, frozen=True, kw_only=True):
    attempt: Count
    code: str
    message: str = ""
    result: dict[str, Any] = {}


class FenceBody(_Shape, frozen=True, kw_only=True):
    reason: str = ""
    force: bool = False


class TargetStatusView(_Shape, frozen=True, kw_only=True):
    """One allocation's use of a volume on a node, as operators see it."""

    allocation_id: str
    error: str
    mode: str
    namespace: str
    path: str
    released: bool
    state: str
    volume_id: str


class AttachmentStatusView(_Shape, frozen=True, kw_only=True):
    claims: list[TargetStatusView]
    error: str
    external_id: str
    plugin_id: str
    staged: bool
    state: str


class CallStatusView(_Shape, frozen=True, kw_only=True):
    """A controller's call that isn't over. `Executor`: the node that makes it, or made the last attempt."""

    attempt: int
    code: str
    error: str
    executor: str
    external_id: str
    id: str
    kind: str
    node_id: str
    plugin_id: str
    state: str


class HostStatusView(_Shape, frozen=True, kw_only=True):
    """What a node whose agent manages its volumes has, without secrets."""

    attachments: list[AttachmentStatusView]
    draining: bool
    fenced: bool
    node_id: str
    operations: list[CallStatusView]
    reason: str
    revoked: list[RevokedView]
    unexpected: list[UnexpectedBody]


class Body(Generic[T]):
    """A body that is read straight into a struct (`shape.Kind`)."""

    def __init__(self, shape: type[T]) -> None:
        self._shape = shape
        self._decoder = msgspec.json.Decoder(shape)

    def read(self, value: object) -> T:
        """Of a body that was decoded before."""
        return msgspec.convert(value, self._shape)

    def of(self, body: bytes) -> T:
        """Raises InvalidBody."""
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidBody(str(error)) from None

    def schema(self) -> dict[str, Any]:
        schemas, components = msgspec.json.schema_components([self._shape], ref_template="{name}")
        return dict(_inlined(schemas[0], components))


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(components[schema["$ref"]], components)
        return {key: _inlined(value, components) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inlined(value, components) for value in schema]
    return schema
