"""Does one step of a volume: writes its record, calls the driver or the host, looks what came of it, writes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from volstore.node import requests, transitions, user_path
from volstore.node.calls import CallFailed
from volstore.node.codes import DONE, UNKNOWN, WAITS, classify
from volstore.node.host import Host, Refused
from volstore.node.journal import Journal
from volstore.node.plugins import Plugin
from volstore.node.record import Record, Seen
from volstore.node.steps import (
    BIND,
    CLEAN_UP,
    MAKE_READ_ONLY,
    PUBLISH,
    STAGE,
    UNBIND,
    UNPUBLISH,
    UNSTACK,
    UNSTAGE,
    Step,
)
from volstore.node.transitions import NOT_MOUNTED, Outcome
from volstore.node.work import Attachment

CALL_SECONDS = 120.0
"""Nomad's and kubelet's time for a call."""


class NotWritten(Exception):
    """The disk didn't take a record. `record` says what there may be now."""

    def __init__(self, record: Record, reason: OSError) -> None:
        super().__init__(f"the agent's record can't be written: {reason.strerror or reason}")
        self.record = record


@dataclass(frozen=True, slots=True)
class Worker:
    """Steps of any volume; the caller sees to it that a volume has one at a time."""

    host: Host
    journal: Journal
    call_seconds: float = CALL_SECONDS

    async def do(
        self,
        step: Step,
        record: Record,
        seen: Seen,
        desired: Attachment | None,
        plugin: Plugin | None,
        *,
        on_begin: Callable[[Record], None],
    ) -> tuple[Record, Outcome]:
        """The record after the step, already written, and how it ended. Raises NotWritten.

        `on_begin` gets the record that says that the call may have been made, before it is: from then on the node must
        report so. It is on disk by then, for the case that this is cancelled or the process dies.
        """
        begun = transitions.begin(record, step, desired, seen)
        if step.kind == BIND:
            return await self._bind(step, begun)
        if begun != record:
            self._write(begun, record)
        on_begin(begun)
        try:
            outcome = await self._perform(step, begun, desired, plugin)
        except Refused as refusal:
            outcome = Outcome(UNKNOWN, str(refusal))
        except OSError as error:
            outcome = Outcome(UNKNOWN, f"{error.strerror or error}")
        finished = transitions.finish(begun, step, outcome)
        if finished != begun:
            self._write(finished, finished)
        return finished, outcome

    def _write(self, record: Record, otherwise: Record) -> None:
        try:
            self.journal.write(record)
        except OSError as error:
            raise NotWritten(otherwise, error) from error

    async def _perform(self, step: Step, record: Record, desired: Attachment | None, plugin: Plugin | None) -> Outcome:
        paths, key = self.host.paths, record.key
        if step.kind == STAGE:
            assert desired is not None
            assert plugin is not None
            self.host.make_directory(paths.staging(key))
            outcome = await self._call(plugin, "NodeStageVolume", requests.stage(desired, record, paths))
            return Outcome(outcome.kind, outcome.text, bool(self.host.table().at(paths.staging(key))))
        if step.kind == PUBLISH:
            assert desired is not None
            assert plugin is not None
            return await self._publish(step.item, record, desired, plugin)
        if step.kind == UNSTAGE:
            return await self._unstage(record, plugin)
        if step.kind == UNBIND:
            return await self._unbind(step.item, record, force=_forced(desired, step.item))
        target = paths.target(key, step.item)
        if step.kind == UNPUBLISH:
            assert plugin is not None
            return await self._unpublish(step.item, record, plugin)
        if step.kind == CLEAN_UP:
            await self._remove(target, "p", detach=True)
        elif step.kind == UNSTACK:
            await self.host.unmount_to(target, 1)
        elif step.kind == MAKE_READ_ONLY:
            await self.host.make_read_only(target)
        return Outcome()

    async def _publish(self, item: str, record: Record, desired: Attachment, plugin: Plugin) -> Outcome:
        target = self.host.paths.target(record.key, item)
        parent = target.rpartition("/")[0]
        try:
            self.host.make_directory(parent)
            if not self.host.table().at(target):
                # The driver makes the target; what an earlier try left is in its way, or ends up below its mount.
                self.host.remove_mount_point(target, parent)
        except (OSError, Refused) as error:
            return Outcome(WAITS, str(error))
        stages = plugin.fingerprint is not None and plugin.fingerprint.stages
        request = requests.publish(desired, record, self.host.paths, item, stages=stages)
        outcome = await self._call(plugin, "NodePublishVolume", request)
        if outcome.kind == DONE and plugin.settings.verify_mounts and not self._is_there(target, record):
            return Outcome(
                NOT_MOUNTED,
                f"the plugin answered OK but nothing is mounted at {target}: does it share {self.host.paths.base} "
                "(rshared)?",
            )
        return outcome

    def _is_there(self, target: str, record: Record) -> bool:
        return bool(self.host.table().at(target)) or (record.block and self.host.shows_block_device(target))

    async def _unpublish(self, item: str, record: Record, plugin: Plugin) -> Outcome:
        target = self.host.paths.target(record.key, item)
        outcome = await self._call(plugin, "NodeUnpublishVolume", requests.unpublish(record, self.host.paths, item))
        if outcome.kind != DONE:
            if self.host.table().at(target):
                return Outcome(outcome.kind, f"{outcome.text}; {self.host.busy(target)}")
            return outcome
        await self._remove(target, "p")
        return outcome

    async def _unstage(self, record: Record, plugin: Plugin | None) -> Outcome:
        staging = self.host.paths.staging(record.key)
        outcome = Outcome()
        if plugin is not None and plugin.fingerprint is not None and plugin.fingerprint.stages:
            outcome = await self._call(plugin, "NodeUnstageVolume", requests.unstage(record, self.host.paths))
        if outcome.kind == DONE:
            await self._remove(staging, "s")
        return outcome

    async def _remove(self, path: str, directory: str, *, detach: bool = False) -> None:
        """A driver may say OK and leave its mount (measured after a volume was deleted): then it is ours to end."""
        await self.host.unmount_all(path, detach=detach)
        self.host.remove_mount_point(path, f"{self.host.paths.base}/{directory}")

    async def _bind(self, step: Step, record: Record) -> tuple[Record, Outcome]:
        target = record.targets[step.item]
        source = self.host.paths.target(record.key, step.item)
        try:
            user_path.check_path(target.path, self.host.paths.base)
            if self.host.table().at(target.path):
                raise Refused(f"something else is mounted at {target.path} already")
            made = user_path.is_missing(target.path)
            record = transitions.bound(record, step.item, self.host.origin(source), made=made)
            self._write(record, record)
            user_path.prepare(target.path, block=record.block)
            await user_path.show(self.host, source, target.path, read_only=target.read_only)
        except Refused as refusal:
            return record, Outcome(WAITS, str(refusal))
        return record, Outcome()

    async def _unbind(self, item: str, record: Record, *, force: bool) -> Outcome:
        target = record.targets[item]
        assert target.bound is not None
        await user_path.hide(self.host, target.path, target.bound, detach=force)
        if target.made:
            user_path.remove_made(target.path)
        return Outcome()

    async def _call(self, plugin: Plugin, name: str, request: dict[str, object]) -> Outcome:
        async with plugin.node_calls:
            try:
                await plugin.driver.call(name, request, timeout_seconds=self.call_seconds)
            except CallFailed as error:
                return Outcome(classify(name, error.code), str(error))
        return Outcome()


def _forced(desired: Attachment | None, item: str) -> bool:
    return desired is not None and any(claim.force and claim.allocation_id == item for claim in desired.claims)
