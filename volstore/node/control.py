"""The socket on which people of this host ask the agent: a line of JSON comes, lines of JSON go, the last one `Done`
or `Failed`. Whoever may open the socket may mount; whoever hangs up in the middle of a mount has it undone."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import structlog

from volstore.node.mounting import Failed, Mounting, Step, Wanted
from volstore.node.work import READ

LONGEST_LINE = 64 * 1024
GROUP = "volstore"
MODE = 0o660

log = structlog.get_logger()


class Control:
    """`status` gives what `status` answers. It keeps no state."""

    def __init__(self, path: Path, mounting: Mounting, status: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._mounting = mounting
        self._status = status
        self._undoing: set[asyncio.Task[None]] = set()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Until cancelled. Raises OSError where the socket can't be made."""
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._answer, self._path, limit=LONGEST_LINE)
        finally:
            os.umask(before)
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(self._path, -1, grp.getgrnam(GROUP).gr_gid)
            self._path.chmod(MODE)
        try:
            async with server:
                ready()
                await server.serve_forever()
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            if not isinstance(asked, dict):
                raise ValueError("expected an object")
            await self._do(asked, reader, writer)
        except (ValueError, KeyError, TypeError) as error:
            await _say(writer, {"Failed": f"the request can't be read: {error}"})
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _do(self, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match asked.get("Do"):
            case "mount":
                wanted = Wanted(
                    namespace=str(asked.get("Namespace") or "default"),
                    volume=str(asked["Volume"]),
                    path=str(asked.get("Path") or ""),
                    read_only=bool(asked.get("ReadOnly")),
                    job=str(asked.get("Job") or "mount"),
                    wait=float(asked.get("Wait", 300)),
                )
                if not await self._tell(self._mounting.mount(wanted), reader, writer):
                    task = asyncio.create_task(self._undo(wanted))
                    self._undoing.add(task)
                    task.add_done_callback(self._undoing.discard)
            case "unmount":
                steps = self._mounting.unmount(
                    str(asked["What"]),
                    str(asked.get("Namespace") or "default"),
                    force=bool(asked.get("Force")),
                    wait=float(asked.get("Wait", 300)),
                )
                await self._tell(steps, reader, writer)
            case "mounts":
                await _say(writer, {"Done": self._mounts()})
            case "status":
                await _say(writer, {"Done": self._status()})
            case other:
                await _say(writer, {"Failed": f"this agent can't do {other!r}"})

    async def _undo(self, wanted: Wanted) -> None:
        try:
            await self._mounting.undo(wanted)
        except Failed as error:
            log.warning("mount_not_undone", volume=wanted.volume, path=wanted.path, reason=str(error))

    def _mounts(self) -> list[dict[str, Any]]:
        return [
            {
                "Volume": claim.volume_id,
                "Namespace": claim.namespace,
                "Path": self._mounting.shown_at(one, claim),
                "Mode": "ro" if claim.mode == READ else "rw",
                "State": "released" if claim.released and target is None else (target.state if target else one.state),
                "Plugin": one.plugin_id,
                "ExternalID": one.external_id,
                "AllocationID": claim.allocation_id,
                "Error": (target.error if target else "") or one.error,
            }
            for one, claim, target in self._mounting.claims()
        ]

    async def _tell(
        self, steps: AsyncIterator[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Say each step; False if the other side hung up before the end."""
        hung_up = asyncio.ensure_future(reader.read(1))
        telling = asyncio.ensure_future(_say_all(steps, writer))
        try:
            await asyncio.wait((hung_up, telling), return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
                return False
            await telling
            return True
        except ConnectionError:
            return False
        finally:
            hung_up.cancel()
            telling.cancel()


async def _say_all(steps: AsyncIterator[Step], writer: asyncio.StreamWriter) -> None:
    last = ""
    try:
        async for step in steps:
            last = step.text
            await _say(writer, {"Kind": step.kind, "Text": step.text})
    except Failed as error:
        await _say(writer, {"Failed": str(error)})
    else:
        await _say(writer, {"Done": last})


async def _say(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()
