"""`make cluster`: three nodes on this machine, each with its log in a file, until Ctrl-C stops them.

    python deploy/local/cluster.py [--dir DIR] [--fresh]

HTTP on 127.0.0.1:4646, :4656 and :4666, Raft on the next port of each. Data, configuration and logs are kept in
--dir (.volstore-cluster) for the next time; --fresh begins anew.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

NODES = ("s1", "s2", "s3")
STOP_WITHIN = 20.0
_MARKER = "made-by-make-cluster"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path(".volstore-cluster"))
    parser.add_argument("--fresh", action="store_true", help="remove what is in --dir first")
    given = parser.parse_args()
    folder: Path = given.dir
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).is_file():
        print(f"{folder} was not made by this command, so it is left alone: give another --dir", file=sys.stderr)
        return 2
    if given.fresh and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / _MARKER).touch()
    volstore = [sys.executable, "-m", "volstore"]
    if not (folder / "s1.toml").exists():
        subprocess.run([*volstore, "init", "cluster", "--servers", str(len(NODES)), "--dir", str(folder)], check=True)
    # An exception, so that the nodes are stopped even if a signal comes before all of them run.
    signal.signal(signal.SIGTERM, _interrupt)
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in NODES:
            with (folder / f"{name}.log").open("ab") as log:
                command = [*volstore, "agent", "--config", str(folder / f"{name}.toml")]
                # Its own session: Ctrl-C at the terminal is for this process, which stops the nodes in order.
                nodes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            print(f"{name} runs as process {nodes[name].pid}, its log is {folder / f'{name}.log'}")
        print("Try: volstore server members; Ctrl-C stops all three", flush=True)
        return _watch(nodes, folder)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(nodes)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _watch(nodes: dict[str, subprocess.Popen[bytes]], folder: Path) -> int:
    """Wait until all nodes have ended. A node that ends is reported, but not restarted, so that one can look at it."""
    while nodes:
        for name, process in list(nodes.items()):
            if (code := process.poll()) is not None:
                del nodes[name]
                print(f"{name} ended with code {code}; the last lines of {folder / f'{name}.log'} say why", flush=True)
        time.sleep(0.2)
    return 1


def _stop(nodes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Stop one node after the other, so that each leader can transfer its leadership."""
    for name, process in nodes.items():
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            print(f"{name} did not stop within {STOP_WITHIN:g} s and is killed", file=sys.stderr)
            process.kill()
            process.wait()
    print("All stopped", flush=True)


if __name__ == "__main__":
    sys.exit(main())
