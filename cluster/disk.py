"""The real disk behind `cluster.ports.Disk`: one data directory, its lock, and a thread of its own for what blocks."""

from __future__ import annotations

from pathlib import Path


class RealDisk:
    """Skeleton: `RealDisk(path)` implements `cluster.ports.Disk`.

    Each has its own thread: give the snapshots a second `RealDisk` of the same path, so that they don't hold up the
    journal. Only one of the two locks.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """End the thread (work that was given to `run` is finished first) and release the lock."""
        raise NotImplementedError
