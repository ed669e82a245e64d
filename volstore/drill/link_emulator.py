"""Emulates a slow link in user space: a process that delays and drops packets.

    python -m volstore.drill.link_emulator INTERFACE DELAY JITTER LOSS

It creates the tunnel INTERFACE in its network namespace and prints "ready". It returns each packet that is routed into
the tunnel after DELAY seconds, plus or minus JITTER, and drops a share LOSS of them. The order is kept. `tc netem` does
the same in the kernel, but many kernels lack it.
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
"""The most packets in flight; beyond that the link drops packets, as real links do."""


def main(interface: str, delay: float, jitter: float, loss: float) -> None:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", interface.encode(), _IFF_TUN | _IFF_NO_PI))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    in_flight: deque[tuple[float, bytes]] = deque()
    while True:
        wait = max(in_flight[0][0] - time.monotonic(), 0) if in_flight else None
        readable, _, _ = select.select([descriptor], [], [], wait)
        now = time.monotonic()
        while in_flight and in_flight[0][0] <= now:
            _give(descriptor, in_flight.popleft()[1])
        if readable:
            packet = os.read(descriptor, _LARGEST)
            if random.random() >= loss and len(in_flight) < _LONGEST_QUEUE:
                due = now + max(delay + random.uniform(-jitter, jitter), 0)
                in_flight.append((max(due, in_flight[-1][0]) if in_flight else due, packet))


def _give(descriptor: int, packet: bytes) -> None:
    try:
        os.write(descriptor, packet)
    except OSError:  # the interface went down with packets in flight: they are lost, as on any link
        return


if __name__ == "__main__":
    main(sys.argv[1], *(float(text) for text in sys.argv[2:5]))
