"""What the registry wants of this node, what the node tells it, and the narrow ports between the two.

The shapes are those of `GET /v1/node/:id/work`, `PUT /v1/node/:id/attachments` and `PUT /v1/operation/:id/outcome`.
Everything here is a value; secrets lie in fields that no repr shows.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

ATTACHING, ATTACHED, LEAVING, DETACHING = "attaching", "attached", "leaving", "detaching"
FILE_SYSTEM, BLOCK_DEVICE = "file-system", "block-device"
READ, WRITE = "read", "write"

_CAPITALS = {"id": "ID", "ids": "IDs", "fs": "FS", "ns": "Ns"}


def _go_name(name: str) -> str:
    return "".join(_CAPITALS.get(word, word.capitalize()) for word in name.split("_"))


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename=_go_name):
    """An object whose members have Go's names."""


class Claim(_Shape, frozen=True, kw_only=True):
    """One allocation's use of a volume on this node.

    `released` says that the registry has ended it: the target shall go, and the registry waits to hear that it went.
    A claim that isn't listed at all is none of ours to end. `path` is where the user wants it, or empty. `reported`:
    this node once said that it has a target for it, and hasn't said since that it is gone. `force`: the user wants it
    unmounted even without the plugin.
    """

    allocation_id: str
    namespace: str
    volume_id: str
    mode: str = WRITE
    path: str = ""
    released: bool = False
    reported: bool = False
    force: bool = False
    job_id: str = ""


class Attachment(_Shape, frozen=True, kw_only=True):
    """A physical volume that this node has, or is to have or to lose. Only `attached` ones are staged and published.

    `staged`: as this node last reported it. `error`: why a controller's call for it failed, in words. `epoch` is the
    index at which the attachment was made.
    """

    plugin_id: str
    external_id: str
    state: str
    epoch: int = 0
    staged: bool = False
    access_mode: str = "single-node-writer"
    attachment_mode: str = FILE_SYSTEM
    fs_type: str = ""
    mount_flags: list[str] = []  # msgspec copies it
    volume_context: dict[str, str] = {}
    publish_context: dict[str, str] = {}
    secrets: dict[str, str] = {}
    claims: list[Claim] = []
    error: str = ""

    def __repr__(self) -> str:
        return f"Attachment({self.plugin_id}, {self.external_id}, {self.state}, {self.claims})"


class Operation(_Shape, frozen=True, kw_only=True):
    """A controller's call that the registry assigned to this node. `args` are the fields of the CSI request of `kind`.

    It may be started only within `lease_ns` of sending the poll that brought it.
    """

    id: str
    attempt: int
    kind: str
    plugin_id: str
    lease_ns: int
    args: dict[str, Any] = {}
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Operation({self.id}, attempt {self.attempt}, {self.kind}, {self.plugin_id})"


class Revoked(_Shape, frozen=True, kw_only=True):
    """A volume that was taken from this node while it was thought dead: all of it must go."""

    plugin_id: str
    external_id: str


class Work(_Shape, frozen=True, kw_only=True):
    """All that the registry wants of this node. `index` grows with every change; `held_ns` is for how long the
    registry held the poll before it answered, so that leases can be counted from the answer."""

    index: int
    held_ns: int = 0
    attachments: list[Attachment] = []
    operations: list[Operation] = []
    revoked: list[Revoked] = []


class TargetReport(_Shape, frozen=True, kw_only=True):
    """One allocation's target: `state` is "publishing", "published" or "unpublishing". `error` is in words."""

    allocation_id: str
    state: str
    read_only: bool = False
    path: str = ""
    error: str = ""


class AttachmentReport(_Shape, frozen=True, kw_only=True):
    """`staged` is true until unstaging is certain. `error` tells what staging or unstaging waits for."""

    plugin_id: str
    external_id: str
    staged: bool
    targets: list[TargetReport]
    error: str = ""


class Unexpected(_Shape, frozen=True, kw_only=True):
    """Something of ours that the registry doesn't list. `path` is on the host; the IDs are empty when not known."""

    path: str
    plugin_id: str = ""
    external_id: str = ""
    allocation_id: str = ""


class HostReport(_Shape, frozen=True, kw_only=True):
    """All that is there, made after everything of `work_index` was taken in.

    What isn't listed is gone, for claims that were released at `work_index` or before; nothing can be concluded of
    later ones, since this node may not have heard of them when it looked.
    """

    boot_id: str
    work_index: int
    attachments: list[AttachmentReport]
    unexpected: list[Unexpected]


class Outcome(_Shape, frozen=True, kw_only=True):
    """How an operation's attempt ended: gRPC's `code` or NOT_SENT, the driver's words, the answer's fields."""

    attempt: int
    code: str
    message: str = ""
    result: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Outcome(attempt {self.attempt}, {self.code}, {self.message})"


class RegistryUnavailable(Exception):
    """No answer that can be used came; what was sent may have arrived all the same."""


class WorkSource(Protocol):
    """Where work comes from."""

    async def poll(self, index: int) -> Work:
        """The work as soon as its index is greater than `index`, or as it is after a while.

        Raises RegistryUnavailable. Answers come in order: never older than one that was given before.
        """


class Reports(Protocol):
    """Where reports go. Each raises RegistryUnavailable."""

    async def attachments(self, report: HostReport) -> None: ...

    async def outcome(self, operation_id: str, outcome: Outcome) -> bool:
        """False: the attempt was superseded, and the outcome is dropped."""
