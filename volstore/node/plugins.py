"""The plugins of this host: each is dialled, asked who it is, and watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from volstore.node.calls import CallFailed, Driver, Process
from volstore.node.codes import NOT_SENT, UNKNOWN, classify
from volstore.node.fingerprint import BadDriver, Fingerprint, probe, take_fingerprint
from volstore.node.record import PluginView

PROBE_SECONDS = 30.0
"""Between two looks at a plugin that is well; a lost connection is noticed at once."""
MISSED_PROBES = 2
"""Probes without an answer in a row that make a plugin unhealthy."""
DIAL_SECONDS = 0.5
LONGEST_DIAL_SECONDS = 5.0
"""Between two tries to reach one that isn't there: the first, doubled up to the longest."""
MOST_NODE_CALLS = 8
"""Calls that one plugin gets at a time for staging, publishing and back, each for another volume."""


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """What the operator says of a plugin. `socket` is a path; see `PluginView` for the others."""

    socket: str
    trust_read_only: bool = False
    verify_mounts: bool = True


class Plugin:
    """One plugin. `fingerprint` is the last one taken; `why_not` is empty while it is healthy.

    `generation` grows when the process that took earlier calls is known to be gone, and with it all that it might
    still have carried out.
    """

    def __init__(self, plugin_id: str, settings: PluginSettings, on_change: Callable[[str], None]) -> None:
        self.id = plugin_id
        self.settings = settings
        self.fingerprint: Fingerprint | None = None
        self.why_not = f"plugin {plugin_id} hasn't answered yet"
        self.driver = Driver(settings.socket)
        self.node_calls = asyncio.Semaphore(MOST_NODE_CALLS)
        self.controller_calls = asyncio.Semaphore(1)
        self.generation = 0
        self._on_change = on_change
        self._listener: Process | None = None

    def view(self) -> PluginView:
        return PluginView(
            why_not=self.why_not,
            stages=self.fingerprint is not None and self.fingerprint.stages,
            trusts_read_only=self.settings.trust_read_only,
            verifies=self.settings.verify_mounts,
        )

    async def watch(self) -> None:
        """Keep `fingerprint` and `why_not` true, for ever."""
        wait_seconds = DIAL_SECONDS
        while True:
            try:
                fingerprint = await take_fingerprint(self.driver)
                ready = await probe(self.driver)
            except (CallFailed, BadDriver) as error:
                self._is(f"plugin {self.id} can't be used: {error}")
            else:
                self._meet(self.driver.listener)
                self._is("" if ready else f"plugin {self.id} is still starting", fingerprint)
                if ready:
                    wait_seconds = DIAL_SECONDS
                    await self._while_well()
                    continue
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, LONGEST_DIAL_SECONDS)

    async def _while_well(self) -> None:
        """Returns when the fingerprint has to be taken again."""
        missed = 0
        while True:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await self.driver.lost()
            except TimeoutError:
                pass
            else:
                self._is(f"plugin {self.id} has closed its connection")
                return
            try:
                ready = await probe(self.driver)
            except CallFailed as error:
                missed += 1
                timed_out = error.code == "DEADLINE_EXCEEDED"
                if timed_out and missed < MISSED_PROBES:
                    continue
                self._is(f"plugin {self.id} is unhealthy: {error}")
                if not timed_out and classify("Probe", error.code) in (UNKNOWN, NOT_SENT):
                    return
            else:
                missed = 0
                self._is("" if ready else f"plugin {self.id} is starting again")

    def _meet(self, listener: Process | None) -> None:
        if self._listener is not None and self._listener != listener and self._listener.is_gone():
            self.generation += 1
        self._listener = listener

    def _is(self, why_not: str, fingerprint: Fingerprint | None = None) -> None:
        if fingerprint is None:
            fingerprint = self.fingerprint
        if (why_not, fingerprint) != (self.why_not, self.fingerprint):
            self.why_not, self.fingerprint = why_not, fingerprint
            self._on_change(self.id)

    def close(self) -> None:
        self.driver.close()


class Plugins:
    """All plugins of this host by their IDs. `on_change` hears a plugin's ID when its health or fingerprint changed."""

    def __init__(self, settings: Mapping[str, PluginSettings], on_change: Callable[[str], None]) -> None:
        self._plugins = {plugin_id: Plugin(plugin_id, one, on_change) for plugin_id, one in settings.items()}
        self._watching: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        self._watching = [asyncio.create_task(plugin.watch()) for plugin in self._plugins.values()]

    async def close(self) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for plugin in self._plugins.values():
            plugin.close()

    def all(self) -> list[Plugin]:
        return list(self._plugins.values())

    def get(self, plugin_id: str) -> Plugin | None:
        return self._plugins.get(plugin_id)

    def view(self, plugin_id: str) -> PluginView:
        plugin = self._plugins.get(plugin_id)
        return plugin.view() if plugin else PluginView(why_not=f"this node has no plugin {plugin_id}")
