"""A CSI driver as a real process, whose faults are those that were measured on real ones (design/csi.md, section 0).

`python -m tests.csi.driver SETTINGS.json`: the file holds `Settings`. Faults come from a file that the test writes and
this process takes them from, one by one; each call is written to a log, so that a test can see what was asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from volstore.node import mountinfo, syscalls
from volstore.plugin_dir.plugin import DirPlugin
from volstore.plugin_dir.serving import Answer, Refusal, serve

SECRET = "correct horse battery staple"
"""What `needs_secret` asks for."""

_ATTACHES = "PUBLISH_UNPUBLISH_VOLUME"
_STAGES = "STAGE_UNSTAGE_VOLUME"


class Fault(msgspec.Struct, kw_only=True):
    """What happens at a call, `times` times. `kind` is one of those in `Faulty._meet`."""

    call: str
    kind: str
    times: int = 1
    seconds: float = 0
    code: str = "INTERNAL"
    text: str = "a fault of the test"


class Settings(msgspec.Struct, kw_only=True):
    """All paths are absolute. `kinds_of_capabilities` adds entries that some drivers have: twice, UNKNOWN, numbers."""

    socket: str
    root: str
    node_id: str = "storage-node-1"
    attaches: bool = False
    stages: bool = True
    stage_mounts: bool = False
    controller: bool = True
    node: bool = True
    needs_secret: bool = False
    odd_capabilities: bool = False
    removes_trees: bool = False
    makes_parents: bool = False
    max_volumes: int = 0

    @property
    def faults(self) -> Path:
        return Path(self.root) / "faults.json"

    @property
    def calls(self) -> Path:
        return Path(self.root) / "calls.jsonl"

    @property
    def state(self) -> Path:
        return Path(self.root) / "state.json"

    @property
    def volumes(self) -> Path:
        return Path(self.root) / "volumes"


class State(msgspec.Struct, kw_only=True):
    """What outlives the process. `attached`: node by volume."""

    attached: dict[str, str] = {}


class Faulty(DirPlugin):
    """The plugin for directories, with faults around each call."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.volumes, settings.node_id, shared=True)
        self._settings = settings
        self._late: set[asyncio.Task[Any]] = set()
        self._running: dict[str, int] = {}

    def answers(self) -> dict[str, Answer]:
        answers = super().answers() | {
            "ControllerPublishVolume": self.controller_publish_volume,
            "ControllerUnpublishVolume": self.controller_unpublish_volume,
        }
        served = {
            name: answer
            for name, answer in answers.items()
            if (self._settings.controller or not _is_controllers(name))
            and (self._settings.node or not name.startswith("Node"))
        }
        return {name: self._with_faults(name, answer) for name, answer in served.items()}

    async def get_plugin_info(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"name": "faulty.csi.test", "vendor_version": "N/A"}

    async def controller_get_capabilities(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._capabilities(["CREATE_DELETE_VOLUME", *([_ATTACHES] if self._settings.attaches else [])])

    async def node_get_capabilities(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._capabilities([_STAGES] if self._settings.stages else [])

    def _capabilities(self, names: list[str]) -> dict[str, Any]:
        odd: list[Any] = [*names, "UNKNOWN", 77] if self._settings.odd_capabilities else []
        return {"capabilities": [{"rpc": {"type": name}} for name in [*names, *odd]]}

    async def node_get_info(self, request: dict[str, Any]) -> dict[str, Any]:
        return await super().node_get_info(request) | {"max_volumes_per_node": self._settings.max_volumes}

    async def controller_publish_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check_secret(request)
        state = self._read()
        holder = state.attached.get(request["volume_id"], request["node_id"])
        if holder != request["node_id"]:
            raise Refusal("FAILED_PRECONDITION", f"attached to {holder}")
        state.attached[request["volume_id"]] = request["node_id"]
        self._write(state)
        return {"publish_context": {"device": f"/dev/disk/{request['volume_id']}"}}

    async def controller_unpublish_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check_secret(request)
        state = self._read()
        if state.attached.get(request["volume_id"]) == request.get("node_id"):
            del state.attached[request["volume_id"]]
            self._write(state)
        return {}

    async def node_stage_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check_secret(request)
        if self._settings.attaches and "device" not in request.get("publish_context", {}):
            raise Refusal("INVALID_ARGUMENT", "Device path not provided")
        await super().node_stage_volume(request)
        staging = request["staging_target_path"]
        if self._settings.stage_mounts and not mountinfo.read().at(staging):
            syscalls.bind(str(self.volumes.find(request["volume_id"])), staging)
        return {}

    async def node_unstage_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        if mountinfo.read().at(request["staging_target_path"]):
            syscalls.unmount(request["staging_target_path"])
        return await super().node_unstage_volume(request)

    async def node_publish_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check_secret(request)
        if self._settings.makes_parents:
            os.makedirs(os.path.dirname(request["target_path"]), exist_ok=True)  # noqa: PTH103, PTH120
        return await super().node_publish_volume(request)

    async def node_unpublish_volume(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._settings.removes_trees:
            target = Path(request["target_path"])
            if mountinfo.read().at(str(target)):
                syscalls.unmount(str(target))
            # As measured: whatever is below the target is removed, also through a mount that was left.
            await asyncio.to_thread(shutil.rmtree, target, True)
            return {}
        return await super().node_unpublish_volume(request)

    def _check_secret(self, request: dict[str, Any]) -> None:
        if self._settings.needs_secret and request.get("secrets", {}).get("password") != SECRET:
            raise Refusal("UNAUTHENTICATED", f"wrong password {request.get('secrets', {}).get('password')!r}")

    def _with_faults(self, name: str, answer: Answer) -> Answer:
        async def answered(request: dict[str, Any]) -> dict[str, Any]:
            with self._settings.calls.open("ab") as log:
                log.write(msgspec.json.encode({"call": name, "request": request}) + b"\n")
            fault = self._next_fault(name)
            key = f"{name}/{request.get('volume_id')}"
            self._running[key] = self._running.get(key, 0) + 1
            try:
                return await (
                    answer(request) if fault is None else self._meet(fault, answer, request, self._running[key])
                )
            finally:
                self._running[key] -= 1

        return answered

    async def _meet(self, fault: Fault, answer: Answer, request: dict[str, Any], running: int) -> dict[str, Any]:
        """Does the call as the fault says."""

        async def effect() -> dict[str, Any]:
            return await answer(request)

        async def later() -> dict[str, Any]:
            await asyncio.sleep(fault.seconds)
            return await answer(request)

        async def hang() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        match fault.kind:
            case "delay":
                await asyncio.sleep(fault.seconds)
                return await effect()
            case "late":  # the caller may give up, the call is carried out all the same
                task = asyncio.create_task(later())
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return await asyncio.shield(task)
            case "hang":
                return await hang()
            case "fails":
                raise Refusal(fault.code, fault.text)
            case "fails_after":
                await effect()
                raise Refusal(fault.code, fault.text)
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "dies_after":
                await effect()
                os.kill(os.getpid(), signal.SIGKILL)
            case "does_nothing":
                return {}
            case "mounts_twice":
                await effect()
                target = request["target_path"]
                syscalls.bind(str(self.volumes.find(request["volume_id"])), target)
                return {}
            case "ignores_readonly":
                return await answer({**request, "readonly": False})
            case "aborts_if_busy":
                if running > 1:
                    raise Refusal("ABORTED", "an operation for this volume is going on")
                await asyncio.sleep(fault.seconds)
                return await effect()
            case "echoes_secrets":
                raise Refusal(fault.code, f"mount -o {request.get('secrets')} failed")
        raise AssertionError(f"no such fault: {fault.kind}")

    def _next_fault(self, name: str) -> Fault | None:
        try:
            faults = msgspec.json.decode(self._settings.faults.read_bytes(), type=list[Fault])
        except FileNotFoundError:
            return None
        for fault in faults:
            if fault.call == name and fault.times > 0:
                fault.times -= 1
                write_whole(self._settings.faults, msgspec.json.encode(faults))
                return fault
        return None

    def _read(self) -> State:
        try:
            return msgspec.json.decode(self._settings.state.read_bytes(), type=State)
        except FileNotFoundError:
            return State()

    def _write(self, state: State) -> None:
        write_whole(self._settings.state, msgspec.json.encode(state))


def write_whole(path: Path, data: bytes) -> None:
    """In place of what is there, and on disk."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _is_controllers(name: str) -> bool:
    return name.startswith(("Controller", "Create", "Delete", "List", "Validate"))


def main(arguments: list[str]) -> int:
    settings = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Settings)
    settings.volumes.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(Faulty(settings).answers(), Path(settings.socket), ready=lambda: None))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
