"""What is left of the work that waited at a disk when the power went."""

from __future__ import annotations

import errno

from tests.simulation.world import Settings, World


def test_a_machine_goes_down_while_it_reads_a_disk_that_fails() -> None:
    world = World(Settings(seed=1))
    server = world.servers["n1"]
    server.start()
    world.scheduler.run(1.0)
    server.crash()
    server.start()
    reading = server._disks[0]
    while not reading._queue:
        world.scheduler.run(world.scheduler.now + 1e-4)
    server.storage.failures["sync_folder"] = [errno.EIO]
    reading.half_done(1000)
    assert server.storage.failures["sync_folder"] == []
    assert server.storage.power is None
    server.crash()
    server.start()
    world.scheduler.run(2.0)
    assert server.ready
    server.kill()
    world.root.kill()
