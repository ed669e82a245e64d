"""A slow link: a process that hands packets on late, or not at all.

    python -m volstore.drill.wire INTERFACE DELAY JITTER LOSS

It makes the tunnel INTERFACE in its network namespace, prints "ready", and gives back each packet that is routed into
it after DELAY seconds, give or take JITTER, but for a share LOSS of them. The order is kept. `tc netem` does the same
in the kernel, but many kernels come without it.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST = 65_536
_LONGEST_QUEUE = 10_000
"""Packets under way at most; beyond that the link loses them, as real ones do."""


def main(interface: str, delay: float, jitter: float, loss: float) -> None:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", interface.encode(), _IFF_TUN | _IFF_NO_PI))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    under_way: deque[tuple[float, bytes]] = deque()
    while True:
        wait = max(under_way[0][0] - time.monotonic(), 0) if under_way else None
        readable, _, _ = select.select([descriptor], [], [], wait)
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _give(descriptor, under_way.popleft()[1])
        if readable:
            packet = os.read(descriptor, _LARGEST)
            if random.random() >= loss and len(under_way) < _LONGEST_QUEUE:
                due = now + max(delay + random.uniform(-jitter, jitter), 0)
                under_way.append((max(due, under_way[-1][0]) if under_way else due, packet))


def _give(descriptor: int, packet: bytes) -> None:
    try:
        os.write(descriptor, packet)
    except OSError:  # the interface is taken down while packets are under way: they are lost, as on any link
        return


if __name__ == "__main__":
    main(sys.argv[1], *(float(text) for text in sys.argv[2:5]))
