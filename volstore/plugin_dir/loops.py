"""Loop devices: the kernel alone knows which file is at which."""

from __future__ import annotations

import asyncio
from pathlib import Path


def devices_of(file: Path) -> list[str]:
    """The loop devices at which a file is, as paths."""
    real = str(file.resolve())
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().rstrip("\n") == real:
                found.append(f"/dev/{backing.parent.parent.name}")
        except OSError:  # it was detached in this moment
            continue
    return sorted(found)


async def attach(file: Path) -> str:
    """The file's loop device, made if there is none. Raises OSError."""
    if found := devices_of(file):
        return found[0]
    return await _losetup("--find", "--show", str(file))


async def detach(file: Path) -> None:
    """Give back all loop devices of a file. Raises OSError."""
    for device in devices_of(file):
        await _losetup("--detach", device)


async def _losetup(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "losetup", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaint = await process.communicate()
    if process.returncode != 0:
        raise OSError(5, complaint.decode(errors="replace").strip() or f"losetup {arguments[0]} failed")
    return out.decode().strip()
