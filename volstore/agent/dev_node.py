"""The rest of a fleet for `agent --dev --with-node`: a CSI plugin and a node agent as processes, and one volume."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from volstore.core.commands import RegisterVolumes
from volstore.core.model import Volume
from volstore.http.registry import Registry
from volstore.http.server.watch import PluginTopic

PLUGIN_ID = "dir"
VOLUME_ID = "hello"
DIRECTORY = Path("/var/lib/volstore/dev")
"""Not in the registry's own directory: `--fresh` wipes that, and what is mounted here must not go with it."""
SOCKET = Path("/run/volstore/plugins/dir/csi.sock")
STOP_SECONDS = 10.0
_PLUGIN_SECONDS = 30.0

_log = structlog.get_logger("volstore.dev_node")


class DevNode:
    """What it starts it stops; what is mounted stays mounted."""

    def __init__(self) -> None:
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self, address: str, registry: Registry) -> None:
        """Until the volume can be mounted. Raises OSError; without the plugin it says so, and goes on."""
        volumes = DIRECTORY / "volumes"
        (volumes / VOLUME_ID).mkdir(parents=True, exist_ok=True)
        await self._run("plugin", "dir", str(volumes), "--socket", str(SOCKET))
        await self._run(
            *("node", "run", "--server", f"http://{address}", "--plugin", f"{PLUGIN_ID}={SOCKET}"),
            *("--state-dir", str(DIRECTORY / "node")),
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + _PLUGIN_SECONDS
        while (plugin := registry.state.plugin(PLUGIN_ID)) is None or not plugin.schedulable:
            if loop.time() >= until:
                _log.error("dev_plugin_missing", plugin=PLUGIN_ID, reason="see what the node agent says above")
                return
            await registry.watch.wait(PluginTopic(PLUGIN_ID), until)
        if registry.state.volume("default", VOLUME_ID) is None:
            volume = Volume(
                id=VOLUME_ID,
                name=VOLUME_ID,
                external_id=VOLUME_ID,
                plugin_id=PLUGIN_ID,
                access_mode="single-node-writer",
                attachment_mode="file-system",
            )
            await registry.submit(RegisterVolumes("default", (volume,)), loop.time() + _PLUGIN_SECONDS)

    async def _run(self, *arguments: str) -> None:
        # Of a session of its own: Ctrl-C is for the agent, which stops them in order.
        self._processes.append(
            await asyncio.create_subprocess_exec(sys.executable, "-m", "volstore", *arguments, start_new_session=True)
        )

    async def stop(self) -> None:
        """The node agent first, as it talks to the plugin."""
        for process in reversed(self._processes):
            if process.returncode is not None:
                continue
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def try_mounting(program: str = "volstore") -> list[str]:
    """Lines to paste into a shell."""
    return [
        f"{program} mount {VOLUME_ID} /srv/{VOLUME_ID}",
        f"date > /srv/{VOLUME_ID}/file; {program} mounts",
        f"{program} unmount {VOLUME_ID}; cat {DIRECTORY}/volumes/{VOLUME_ID}/file",
    ]
