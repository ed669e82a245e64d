"""Controller calls that the registry assigned to this node: attach and detach, each within its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from volstore.node.calls import CallFailed
from volstore.node.codes import NOT_SENT, Backoff, classify
from volstore.node.paths import VolumeKey
from volstore.node.plugins import Plugin, Plugins
from volstore.node.work import Operation, Outcome, RegistryUnavailable, Reports

ATTACH, DETACH = "attach", "detach"
CALLS = {ATTACH: "ControllerPublishVolume", DETACH: "ControllerUnpublishVolume"}
GATE = "PUBLISH_UNPUBLISH_VOLUME"
RETRY = Backoff(0.5, 10)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Lease:
    """Seconds on the monotonic clock."""

    until: float

    def left(self, now: float) -> float:
        return self.until - now


class Operations:
    """Runs each attempt once and reports how it ended until the registry has it.

    `lock` gives each volume's lock: its calls are made one at a time, whichever side they concern.
    """

    def __init__(
        self,
        plugins: Plugins,
        reports: Reports,
        lock: Callable[[VolumeKey], contextlib.AbstractAsyncContextManager[Any]],
        *,
        call_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._plugins = plugins
        self._reports = reports
        self._lock = lock
        self._call_seconds = call_seconds
        self._clock = clock
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}

    def take(self, operations: Iterable[Operation], sent_at: float, held_ns: int) -> None:
        """Start those that aren't running. `sent_at`: when the poll that brought them was sent, on the clock given;
        `held_ns`: how long the registry held it before it answered."""
        listed = {(operation.id, operation.attempt): operation for operation in operations}
        for key, operation in listed.items():
            if key not in self._running:
                lease = _Lease(sent_at + (held_ns + operation.lease_ns) / 1e9)
                self._running[key] = asyncio.create_task(self._run(operation, lease))
        for key in [key for key, task in self._running.items() if task.done() and key not in listed]:
            del self._running[key]

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, operation: Operation, lease: _Lease) -> None:
        outcome = await self._outcome(operation, lease)
        if outcome is None:
            log.warning("operation_lease_over", operation=operation.id, attempt=operation.attempt, kind=operation.kind)
            return
        log.info("operation_ended", operation=operation.id, attempt=operation.attempt, code=outcome.code)
        failures = 0
        while True:
            try:
                await self._reports.outcome(operation.id, outcome)
            except RegistryUnavailable:
                failures += 1
                await asyncio.sleep(RETRY.after(failures))
            else:
                return

    async def _outcome(self, operation: Operation, lease: _Lease) -> Outcome | None:
        """How it ended, or None if nothing was done before the lease was over: somebody else may have it by then."""
        plugin = self._plugins.get(operation.plugin_id)
        failed = _unfit(operation, plugin)
        if failed is not None:
            return Outcome(attempt=operation.attempt, code=failed[0], message=failed[1])
        assert plugin is not None
        name = CALLS[operation.kind]
        failures = 0
        while True:
            # The plugin's turn first: whoever waits for it mustn't keep the volume's own calls waiting meanwhile.
            async with plugin.controller_calls, self._lock(_key(operation)):
                left = lease.left(self._clock())
                if left <= 0:
                    return None
                try:
                    answer = await plugin.driver.call(
                        name,
                        {**operation.args, "secrets": operation.secrets},
                        timeout_seconds=min(self._call_seconds, left),
                    )
                except CallFailed as error:
                    code, message = error.code, error.text
                else:
                    return Outcome(attempt=operation.attempt, code="OK", result=answer)
            failures += 1
            pause = RETRY.after(failures)
            if classify(name, code) != NOT_SENT or lease.left(self._clock()) <= pause:
                return Outcome(attempt=operation.attempt, code=code, message=message)
            await asyncio.sleep(pause)


def _unfit(operation: Operation, plugin: Plugin | None) -> tuple[str, str] | None:
    """A code and a text if the operation can't be done here whatever its arguments."""
    if plugin is None:
        return NOT_SENT, f"this node has no plugin {operation.plugin_id}"
    if operation.kind not in CALLS:
        return "UNIMPLEMENTED", f"this agent doesn't know operations of the kind {operation.kind!r}"
    if plugin.fingerprint is None:
        return NOT_SENT, plugin.why_not
    if GATE not in plugin.fingerprint.controller_rpcs:
        return "UNIMPLEMENTED", f"plugin {operation.plugin_id} doesn't attach volumes (it lacks {GATE})"
    return None


def _key(operation: Operation) -> VolumeKey:
    return VolumeKey(operation.plugin_id, str(operation.args.get("volume_id", "")))
