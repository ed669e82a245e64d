"""What the node agent costs: `python -m tests.bench.node_agent`, as root.

Memory of an idle agent, a look at 1,000 attachments, and a mount beside the driver's own time.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from tests.csi.world import World, attachment, claim, until
from volstore.node import mountinfo
from volstore.node.mountinfo import Mount, MountTable
from volstore.node.paths import Paths, VolumeKey
from volstore.node.record import DONE, PluginView, Progress, Record, Target
from volstore.node.sight import look
from volstore.node.steps import Wait, next_step

ATTACHMENTS = 1000
MOUNTS = 30


def memory_mib(pid: int) -> float:
    """Resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def look_at_many() -> float:
    """Seconds in which as many attachments, staged and published, are found to be as they are wanted."""
    paths = Paths()
    mounts, records, wanted = [], {}, {}
    for number in range(ATTACHMENTS):
        key = VolumeKey("dirs", f"v{number}")
        wanted[key] = attachment(claim(f"a{number}"), external_id=key.external_id)
        records[key] = Record(
            plugin_id=key.plugin_id,
            external_id=key.external_id,
            block=False,
            boot_id="b",
            stage=Progress(phase=DONE),
            targets={
                f"a{number}": Target(
                    allocation_id=f"a{number}",
                    namespace="default",
                    volume_id="v",
                    read_only=False,
                    progress=Progress(phase=DONE),
                )
            },
        )
        target = paths.target(key, f"a{number}")
        mounts.append(Mount("8:1", f"/v{number}", target, frozenset({"rw"}), "ext4", True))
    lines = "".join(f"1 2 {one.device} {one.root} {one.point} rw shared:1 - ext4 /dev/x rw\n" for one in mounts)
    started = time.perf_counter()
    table: MountTable = mountinfo.parse(lines.encode())
    for key, record in records.items():
        seen = look(table, paths, key, record, wanted[key], lambda path: False)
        step = next_step(wanted[key], record, seen, PluginView(stages=True))
        assert step == Wait({})
    return time.perf_counter() - started


def mount_times(world: World) -> list[float]:
    """Seconds from the registry's word to a reported mount, bound at the user's path."""
    found = []
    for number in range(MOUNTS):
        path = str(world.user / f"db{number}")
        started = time.perf_counter()
        world.want(attachment(claim(path=path)))
        until(lambda: world.state("a1") == "published", "it is published")
        found.append(time.perf_counter() - started)
        world.want(attachment(claim(path=path, released=True), state="leaving"))
        world.gone()
    return found


def restore_many(world: World) -> float:
    """Seconds from the start of an agent to the mounts of as many claimed volumes, the driver's time included."""
    for number in range(ATTACHMENTS):
        (world.driver_settings.volumes / f"v{number}").mkdir()
    started = time.perf_counter()
    world.want(*(attachment(claim(f"a{n}"), external_id=f"v{n}") for n in range(ATTACHMENTS)))
    until(lambda: _all_published(world), "all are published", seconds=600)
    return time.perf_counter() - started


def _all_published(world: World) -> bool:
    report = world.report()
    states = [target.state for one in report.attachments for target in one.targets] if report else []
    return len(states) == ATTACHMENTS and set(states) == {"published"}


def main() -> int:
    if os.geteuid() != 0:
        print("mounting needs root")
        return 1
    world = World()
    try:
        world.volume()
        world.start_driver()
        world.want()
        world.start_agent()
        until(world.report, "a report")
        print(f"idle agent: {memory_mib(world.agent_pid):.1f} MiB")
        times = mount_times(world)
        print(f"{MOUNTS} mounts: median {statistics.median(times) * 1000:.0f} ms, worst {max(times) * 1000:.0f} ms")
        looks = sorted(look_at_many() for _ in range(5))
        print(f"{ATTACHMENTS} attachments looked at: {looks[2] * 1000:.0f} ms")
        print(f"{ATTACHMENTS} volumes mounted at once: {restore_many(world):.1f} s")
        print(f"agent with {ATTACHMENTS} volumes: {memory_mib(world.agent_pid):.1f} MiB")
    finally:
        world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
