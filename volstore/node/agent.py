"""The agent: compares what the registry wants with what is on the host, and has each volume's next step done.

One event loop; a volume has at most one step at a time. Nothing here depends on having seen a particular message:
any change (work, mounts, a plugin's health, a pause that is over) leads to a new look.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from volstore.node import reporting
from volstore.node.codes import DONE as CERTAIN
from volstore.node.codes import UNKNOWN, Backoff
from volstore.node.host import Host
from volstore.node.journal import Journal
from volstore.node.mountinfo import MountTable
from volstore.node.mountwatch import MountWatch
from volstore.node.operations import Operations
from volstore.node.paths import Paths, VolumeKey
from volstore.node.plugins import Plugins
from volstore.node.record import ABSENT, Record, Seen
from volstore.node.sight import look
from volstore.node.steps import FORGET, Step, next_step, wanted
from volstore.node.transitions import Outcome, doubts_over, loaded, rebuilt
from volstore.node.volume import Volume
from volstore.node.work import Attachment, HostReport, RegistryUnavailable, Reports, Work, WorkSource
from volstore.node.worker import CALL_SECONDS, NotWritten, Worker

CLEAN_APART_SECONDS = 5.0
"""Between the two negations that settle a call of which nobody knows whether it will still be carried out."""
LATE_SECONDS = 600.0
"""For so long after it was undone, a call that seemed to fail is still expected to be carried out, unless the
driver's process is gone."""
REPORT_APART_SECONDS = 0.05
REGISTRY_RETRY = Backoff(0.2, 10)

log = structlog.get_logger()


class Agent:
    """`clock` is monotonic, in seconds."""

    def __init__(
        self,
        host: Host,
        journal: Journal,
        plugins: Callable[[Callable[[str], None]], Plugins],
        source: WorkSource,
        reports: Reports,
        *,
        boot_id: str,
        call_seconds: float = CALL_SECONDS,
        clean_apart_seconds: float = CLEAN_APART_SECONDS,
        late_seconds: float = LATE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._journal = journal
        self.plugins = plugins(self._plugin_changed)
        self._source = source
        self._reports = reports
        self._boot_id = boot_id
        self._clock = clock
        self._clean_apart = clean_apart_seconds
        self._late_seconds = late_seconds
        self._worker = Worker(host, journal, call_seconds)
        self._operations = Operations(
            self.plugins, reports, lambda key: self._volume(key).lock, call_seconds=call_seconds, clock=clock
        )
        self.records: dict[VolumeKey, Record] = {}
        self.work: Work | None = None
        self.seen: HostReport | None = None
        """What was found here last."""
        self._news = asyncio.Event()
        self._desired: dict[VolumeKey, Attachment] = {}
        self._revoked: set[VolumeKey] = set()
        self._volumes: dict[VolumeKey, Volume] = {}
        self._to_report = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Raises JournalError and Refused if the host can't be used."""
        await self._host.prepare_base()
        self.records = {key: loaded(record, self._boot_id) for key, record in self._journal.load().items()}
        for name in self._journal.damaged:
            log.error("record_damaged", file=name)
        self.plugins.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll())
                group.create_task(self._report())
                with MountWatch(lambda: self.reconcile()):
                    await asyncio.Event().wait()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        tasks = [volume.task for volume in self._volumes.values() if volume.task]
        for volume in self._volumes.values():
            if volume.timer:
                volume.timer.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._operations.close()
        await self.plugins.close()

    async def _poll(self) -> None:
        index, failures = 0, 0
        while True:
            sent_at = self._clock()
            try:
                work = await self._source.poll(index)
            except RegistryUnavailable as error:
                failures += 1
                if failures == 1:
                    log.warning("registry_unavailable", reason=str(error))
                await asyncio.sleep(REGISTRY_RETRY.after(failures))
                continue
            failures, index = 0, work.index
            self.take(work)
            self._operations.take(work.operations, sent_at, work.held_ns)

    def take(self, work: Work) -> None:
        """What the registry wants from now on."""
        desired = {VolumeKey(one.plugin_id, one.external_id): one for one in work.attachments}
        for key, one in desired.items():
            if self._desired.get(key) != one:
                self._volume(key).pauses.clear()  # new secrets, another claim: worth a try at once
        for key in self._desired.keys() - desired.keys():
            self._volume(key).forgotten = None
        self._desired = desired
        self._revoked = {VolumeKey(one.plugin_id, one.external_id) for one in work.revoked}
        self.work = work
        self._tell()
        self.reconcile()
        self._to_report.set()

    def _volume(self, key: VolumeKey) -> Volume:
        return self._volumes.setdefault(key, Volume())

    def _plugin_changed(self, plugin_id: str) -> None:
        plugin = self.plugins.get(plugin_id)
        log.info("plugin_changed", plugin=plugin_id, healthy=bool(plugin and not plugin.why_not))
        for key, volume in self._volumes.items():
            if key.plugin_id == plugin_id:
                volume.pauses.clear()
        self.reconcile()

    def reconcile(self) -> None:
        """Look at every volume, and start what can be done."""
        if self.work is None:
            return
        table = self._host.table()
        for key in self._desired.keys() | self.records.keys():
            volume = self._volume(key)
            if volume.task is None and isinstance(self._next(key, volume, table)[0], Step):
                volume.task = asyncio.create_task(self._drive(key, volume))
        for key in [key for key, volume in self._volumes.items() if self._is_idle(key, volume)]:
            del self._volumes[key]

    def _is_idle(self, key: VolumeKey, volume: Volume) -> bool:
        known = key in self._desired or key in self.records
        return not known and volume.task is None and not volume.lock.locked()

    def _next(self, key: VolumeKey, volume: Volume, table: MountTable) -> tuple[Step | None, Record | None, Seen]:
        """The volume's next step, if there is one now, with what it follows from."""
        desired, record = self._desired.get(key), self.records.get(key)
        seen = look(table, self._host.paths, key, record, desired, self._host.shows_block_device)
        if record is None:
            if desired is None or (volume.forgotten == desired.epoch and not wanted(desired)):
                return None, None, seen
            record = rebuilt(desired, seen, self._boot_id)
        record = self._without_old_doubts(key, volume, record)
        now = self._clock()
        resting = volume.resting(now)
        view = self.plugins.view(key.plugin_id)
        step = next_step(desired, record, seen, view, revoked=key in self._revoked, resting=resting)
        if isinstance(step, Step):
            if step.kind == FORGET and key not in self.records:
                return None, None, seen
            return step, record, seen
        if step.reasons != volume.waits:
            volume.waits = dict(step.reasons)
            self._to_report.set()
        self._wake_at_end_of_pauses(volume, now)
        return None, record, seen

    def _without_old_doubts(self, key: VolumeKey, volume: Volume, record: Record) -> Record:
        parts = [record.stage, *(target.progress for target in record.targets.values())]
        if not any(part.doubt for part in parts) or any(part.phase != ABSENT for part in parts):
            volume.doubts_end = None
            return record
        now = self._clock()
        if volume.doubts_end is None:
            volume.doubts_end = now + self._late_seconds
        plugin = self.plugins.get(key.plugin_id)
        restarted = plugin is not None and plugin.generation > volume.doubtful_generation
        return doubts_over(record) if restarted or now >= volume.doubts_end else record

    def _wake_at_end_of_pauses(self, volume: Volume, now: float) -> None:
        ends = [pause.until for pause in volume.pauses.values() if pause.until > now]
        if volume.doubts_end is not None:
            ends.append(volume.doubts_end)
        if volume.timer:
            volume.timer.cancel()
            volume.timer = None
        if ends:
            loop = asyncio.get_running_loop()
            volume.timer = loop.call_later(max(0.001, min(ends) - now), self.reconcile)

    async def _drive(self, key: VolumeKey, volume: Volume) -> None:
        """One step after the other, until there is none to be done now."""
        try:
            while True:
                async with volume.lock:
                    step, record, seen = self._next(key, volume, self._host.table())
                    if step is None or record is None:
                        return
                    if step.kind == FORGET:
                        self._forget(key, volume)
                        return
                    volume.waits.pop(step.item, None)
                    desired, plugin = self._desired.get(key), self.plugins.get(key.plugin_id)
                    begun = functools.partial(self._begun, key, record)
                    try:
                        record, outcome = await self._worker.do(step, record, seen, desired, plugin, on_begin=begun)
                    except NotWritten as failed:
                        record, outcome = failed.record, Outcome(UNKNOWN, str(failed))
                self.records[key] = record
                self._note(key, volume, step, record, outcome)
        finally:
            volume.task = None
            self._to_report.set()

    def _begun(self, key: VolumeKey, before: Record, record: Record) -> None:
        self.records[key] = record
        if record != before:
            self._to_report.set()

    def _forget(self, key: VolumeKey, volume: Volume) -> None:
        self._journal.remove(key)
        del self.records[key]
        volume.pauses, volume.waits = {}, {}
        desired = self._desired.get(key)
        # Until the registry has taken note, its work says still that something is here.
        volume.forgotten = desired.epoch if desired else None

    def _note(self, key: VolumeKey, volume: Volume, step: Step, record: Record, outcome: Outcome) -> None:
        self._to_report.set()
        now = self._clock()
        if outcome.kind == CERTAIN:
            log.info("step_done", step=step.kind, plugin=key.plugin_id, volume=key.external_id, allocation=step.item)
            volume.pauses.pop(step.item, None)
            if (progress := record.progress(step.item)) is not None and progress.clean:
                volume.rest(step.item, now + self._clean_apart, "an earlier call may still be carried out")
            return
        if (plugin := self.plugins.get(key.plugin_id)) is not None:
            volume.doubtful_generation = plugin.generation
        log.warning("step_failed", step=step.kind, plugin=key.plugin_id, volume=key.external_id, reason=outcome.text)
        volume.pause(step.item, outcome.kind, outcome.text, now)

    async def _report(self) -> None:
        failures = 0
        while True:
            await self._to_report.wait()
            await asyncio.sleep(REPORT_APART_SECONDS)
            self._to_report.clear()
            if self.work is None:
                continue
            waits: dict[VolumeKey, dict[str, str]] = {key: volume.reasons() for key, volume in self._volumes.items()}
            report = reporting.report(
                self._host.table(),
                self._host.paths,
                self.records,
                self._desired,
                waits,
                boot_id=self._boot_id,
                work_index=self.work.index,
                is_device=self._host.shows_block_device,
            )
            self.seen = report
            self._tell()
            try:
                await self._reports.attachments(report)
                failures = 0
            except RegistryUnavailable:
                failures += 1
                await asyncio.sleep(REGISTRY_RETRY.after(failures))
                self._to_report.set()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def news(self) -> None:
        """Until `work` or `seen` changed."""
        await self._news.wait()

    @property
    def paths(self) -> Paths:
        return self._host.paths

    def waits(self, key: VolumeKey) -> Mapping[str, str]:
        """Why items of a volume aren't as they are wanted, in words."""
        volume = self._volumes.get(key)
        return volume.reasons() if volume is not None else {}

    def status(self) -> dict[str, Any]:
        """For tests and the status socket: how many volumes there are, and what waits."""
        return {
            "records": len(self.records),
            "waits": {key.external_id: volume.waits for key, volume in self._volumes.items() if volume.waits},
        }
