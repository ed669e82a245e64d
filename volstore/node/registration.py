"""Keeps the registry told who this node is, which plugins it has and how they are, and that it is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from volstore.node.codes import Backoff
from volstore.node.fingerprint import Fingerprint
from volstore.node.plugins import Plugin
from volstore.node.registry import Refused, Registry
from volstore.node.work import RegistryUnavailable

FIRST_LOOK_SECONDS = 3.0
"""For so long a starting agent waits for its plugins to say who they are: until then they would seem to be gone."""
_RETRY = Backoff(0.5, 15)

log = structlog.get_logger()


class Registration:
    """`plugins` gives those of this host, as they are now."""

    def __init__(self, registry: Registry, plugins: Callable[[], list[Plugin]], *, name: str, datacenter: str) -> None:
        self._registry = registry
        self._plugins = plugins
        self._about = {"Name": name, "Datacenter": datacenter}
        self._changed = asyncio.Event()
        self.registered = asyncio.Event()
        self.problem = "this node hasn't registered yet"
        """Why the registry doesn't know this node as it is, "" if it does."""

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._first_look()
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self._keep_alive(await self._registry.register(self._node()))
                failures = 0
            except (Refused, RegistryUnavailable) as error:
                failures += 1
                if str(error) != self.problem:
                    log.warning("not_registered", reason=str(error))
                self.problem = str(error)
                await asyncio.sleep(_RETRY.after(failures))

    async def _first_look(self) -> None:
        end = asyncio.get_running_loop().time() + FIRST_LOOK_SECONDS
        while any(plugin.fingerprint is None for plugin in self._plugins()):
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _keep_alive(self, ttl: float) -> None:
        """Heartbeats until the node must be reported again. Raises as `Registry.heartbeat`."""
        self.problem = ""
        self.registered.set()
        while True:
            unknown = asyncio.ensure_future(self._registry.unknown.wait())
            changed = asyncio.ensure_future(self._changed.wait())
            done, waiting = await asyncio.wait(
                (unknown, changed), timeout=max(0.1, ttl / 2), return_when=asyncio.FIRST_COMPLETED
            )
            for one in waiting:
                one.cancel()
            if done:
                return
            ttl = await self._registry.heartbeat() or ttl

    def _node(self) -> dict[str, Any]:
        controllers: dict[str, Any] = {}
        nodes: dict[str, Any] = {}
        for plugin in self._plugins():
            if (seen := plugin.fingerprint) is None:
                continue
            common = _common(plugin, seen)
            if seen.controller:
                controllers[plugin.id] = common | {"ControllerInfo": _controller(seen)}
            if seen.node:
                nodes[plugin.id] = common | {"NodeInfo": _node_info(seen)}
        identity = self._registry.identity
        return {
            **self._about,
            "ID": identity.id,
            "SecretID": identity.secret,
            "Status": "ready",
            "ManagesVolumes": True,
            "CSIControllerPlugins": controllers,
            "CSINodePlugins": nodes,
        }


def _common(plugin: Plugin, seen: Fingerprint) -> dict[str, Any]:
    return {
        "PluginID": plugin.id,
        "Healthy": not plugin.why_not,
        "HealthDescription": plugin.why_not or "healthy",
        "UpdateTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Provider": seen.provider,
        "ProviderVersion": seen.version,
        "RequiresControllerPlugin": "CONTROLLER_SERVICE" in seen.plugin_services,
        "RequiresTopologies": "VOLUME_ACCESSIBILITY_CONSTRAINTS" in seen.plugin_services,
    }


def _controller(seen: Fingerprint) -> Mapping[str, bool]:
    can = seen.controller_rpcs
    return {
        "SupportsReadOnlyAttach": "PUBLISH_READONLY" in can,
        "SupportsAttachDetach": seen.attaches,
        "SupportsListVolumes": "LIST_VOLUMES" in can,
        "SupportsListVolumesAttachedNodes": "LIST_VOLUMES_PUBLISHED_NODES" in can,
    }


def _node_info(seen: Fingerprint) -> Mapping[str, Any]:
    return {
        "ID": seen.node_id,
        "MaxVolumes": seen.max_volumes,
        "AccessibleTopology": None if seen.topology is None else {"Segments": seen.topology},
        "RequiresNodeStageVolume": seen.stages,
    }
