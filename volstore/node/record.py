"""What the agent remembers of one volume, and what it sees of it: the input of `steps`, the output of `transitions`.

A record holds no secret. All of it is rebuilt from the registry's work and the host's mounts when it is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from volstore.node.mountinfo import Mount
from volstore.node.paths import VolumeKey

ABSENT = "absent"
STARTED = "started"
DONE = "done"
UNDOING = "undoing"
"""Phases of staging and of each target: nothing is there; a set-up call was made and its end isn't known; it ended
well and was seen; it is being negated. A negation once begun is finished before the next set-up."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a set-up is. `doubt`: an earlier call may still be carried out, although it seemed to fail.

    `clean`: negations in a row that were answered OK with the host clean after them.
    """

    phase: str = ABSENT
    doubt: bool = False
    clean: int = 0

    @property
    def cleans_needed(self) -> int:
        return 2 if self.doubt else 1


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One allocation's target. `path` is the user's; `bound` is the origin of what we mounted there, `made` whether
    the agent made that directory or file."""

    allocation_id: str
    namespace: str
    volume_id: str
    read_only: bool
    path: str = ""
    progress: Progress = Progress()
    bound: tuple[str, str] | None = None
    made: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A volume of this host. `stage_mounts`: staging made a mount, as not every driver does."""

    plugin_id: str
    external_id: str
    block: bool
    boot_id: str
    stage: Progress = Progress()
    stage_mounts: bool = False
    targets: dict[str, Target] = {}

    @property
    def key(self) -> VolumeKey:
        return VolumeKey(self.plugin_id, self.external_id)

    def progress(self, item: str) -> Progress | None:
        """Of a target, or with an empty item of the staging."""
        if not item:
            return self.stage
        return self.targets[item].progress if item in self.targets else None

    @property
    def nothing_left(self) -> bool:
        """Nothing is there, and nothing can come any more."""
        parts = [self.stage, *(target.progress for target in self.targets.values())]
        return all(part.phase == ABSENT and not part.doubt for part in parts) and not any(
            target.bound for target in self.targets.values()
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """The host's mounts as far as they concern one volume. `targets` and `paths` are by allocation.

    `below` are mount points inside targets, `devices` targets where the driver put a device's node; `foreign` are
    mount points below the volume's directory that no record and no claim explains.
    """

    staging: tuple[Mount, ...] = ()
    targets: dict[str, tuple[Mount, ...]] = field(default_factory=dict)
    below: dict[str, tuple[str, ...]] = field(default_factory=dict)
    paths: dict[str, tuple[Mount, ...]] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    foreign: tuple[str, ...] = ()

    def shows(self, item: str) -> bool:
        """Whether something is at an allocation's target."""
        return bool(self.targets.get(item)) or item in self.devices


@dataclass(frozen=True, slots=True)
class PluginView:
    """What matters of a plugin here. `why_not` says in words why it can't be called now, or is empty.

    `trusts_read_only`: its block devices honour readonly; `verifies`: its mounts show in mountinfo.
    """

    why_not: str = ""
    stages: bool = False
    trusts_read_only: bool = False
    verifies: bool = True
