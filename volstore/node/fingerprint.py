"""What a driver says of itself: who it is, what its socket serves, and what the storage calls this host."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from volstore.node.calls import CallFailed

TIMEOUT_SECONDS = 5.0
"""Of each of these calls."""
_LONGEST_NAME = 63
_LONGEST_ID = 256
"""Bytes of an ID: CSI says 128 for strings, Nomad and others take more."""


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """`controller` and `node` say what is served at this socket, whatever the plugin as a whole can do."""

    provider: str
    version: str
    controller: bool
    node: bool
    plugin_services: frozenset[str] = frozenset()
    expansion: frozenset[str] = frozenset()
    controller_rpcs: frozenset[str] = frozenset()
    node_rpcs: frozenset[str] = frozenset()
    node_id: str = ""
    max_volumes: int = 0
    topology: dict[str, str] | None = None

    @property
    def attaches(self) -> bool:
        """Whether volumes have to be attached to a node before anything happens there."""
        return "PUBLISH_UNPUBLISH_VOLUME" in self.controller_rpcs

    @property
    def stages(self) -> bool:
        return "STAGE_UNSTAGE_VOLUME" in self.node_rpcs


class BadDriver(Exception):
    """A driver whose answers break the specification in a way that volstore can't work with."""


class Calls(Protocol):
    """The part of `calls.Driver` that is needed here."""

    async def call(self, name: str, request: dict[str, Any], *, timeout_seconds: float) -> dict[str, Any]: ...


async def take_fingerprint(driver: Calls) -> Fingerprint:
    """Raises CallFailed and BadDriver."""
    info = await _ask(driver, "GetPluginInfo")
    name = info.get("name", "")
    if not name or len(name.encode()) > _LONGEST_NAME or not name.isprintable():
        raise BadDriver(f"GetPluginInfo: a name of 1 to {_LONGEST_NAME} bytes is needed, the driver says {name[:80]!r}")
    plugin = await _ask(driver, "GetPluginCapabilities")
    services = _named(plugin, "service")
    # The plugin's capabilities speak of all its processes; what this socket serves is told only by asking it.
    controller_rpcs = await _served(driver, "ControllerGetCapabilities")
    node_rpcs = await _served(driver, "NodeGetCapabilities")
    if controller_rpcs is None and node_rpcs is None:
        raise BadDriver("the driver serves neither csi.v1.Controller nor csi.v1.Node")
    node: dict[str, Any] = {}
    if node_rpcs is not None:
        try:
            node = await _ask(driver, "NodeGetInfo")
        except CallFailed as error:
            if error.code != "UNIMPLEMENTED" or "PUBLISH_UNPUBLISH_VOLUME" in (controller_rpcs or ()):
                raise
    node_id = node.get("node_id", "")
    if len(node_id.encode()) > _LONGEST_ID or not node_id.isprintable():
        raise BadDriver(f"NodeGetInfo: node_id has at most {_LONGEST_ID} bytes and no control characters")
    topology = node.get("accessible_topology")
    return Fingerprint(
        provider=name,
        version=info.get("vendor_version", "")[:_LONGEST_ID],
        controller=controller_rpcs is not None,
        node=node_rpcs is not None,
        plugin_services=services,
        expansion=_named(plugin, "volume_expansion"),
        controller_rpcs=controller_rpcs or frozenset(),
        node_rpcs=node_rpcs or frozenset(),
        node_id=node_id,
        max_volumes=max(0, node.get("max_volumes_per_node", 0)),
        topology=None if topology is None else topology.get("segments", {}),
    )


async def probe(driver: Calls) -> bool:
    """Whether the driver has finished starting; one that doesn't say has. Raises CallFailed."""
    ready = (await _ask(driver, "Probe")).get("ready")
    return ready is None or ready.get("value", False)


async def _ask(driver: Calls, name: str) -> dict[str, Any]:
    return await driver.call(name, {}, timeout_seconds=TIMEOUT_SECONDS)


async def _served(driver: Calls, name: str) -> frozenset[str] | None:
    """The capabilities of a service, or None if it isn't served here."""
    try:
        return _named(await _ask(driver, name), "rpc")
    except CallFailed as error:
        if error.code == "UNIMPLEMENTED":
            return None
        raise


def _named(answer: dict[str, Any], member: str) -> frozenset[str]:
    """Drivers repeat capabilities, and name ones that we don't know (kept as numbers) or UNKNOWN."""
    kinds = {item[member].get("type") for item in answer.get("capabilities", ()) if member in item}
    return frozenset(kind for kind in kinds if isinstance(kind, str) and kind != "UNKNOWN")
