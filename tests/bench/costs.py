"""What the worst bodies cost each route: processor time in one turn of the loop, and memory.

    python -m tests.bench.costs [--route /v1/allocations] [--acl]

A server in this process, its loop in a thread that nothing else runs in; the clients are another thread's. Every shape
of `tests.http.json.hostile_bodies` goes to every route that takes a body, at 60 KB, 256 KiB and 4 MiB. Of each route
the worst is printed: milliseconds of processor between two looks at the sockets, and the most memory that was held at a
time, the body's own included. With --acl all come from strangers. Memory is counted
at 4 MiB alone, in a second pass, which is slow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from tests.http.conftest import SETTINGS
from tests.http.json.hostile_bodies import FULL, SHAPES
from tests.http.registry import InProcessRegistry
from volstore.http.json.reader import PIECE_BYTES
from volstore.http.server.declaration import Endpoint
from volstore.http.server.router import API
from volstore.http.server.server import HttpServer

SIZES = (60_000, PIECE_BYTES, FULL)


class _TimedLoop(asyncio.SelectorEventLoop):
    """Knows the most processor time that one turn took, in seconds."""

    worst = 0.0

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        self.worst = max(self.worst, time.thread_time() - began)


@contextmanager
def _serving(acl: bool) -> Iterator[tuple[str, _TimedLoop]]:
    loop = _TimedLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[HttpServer, str]:
        server = HttpServer(InProcessRegistry(), replace(SETTINGS, acl_enabled=acl))
        return server, await server.start("127.0.0.1", 0)

    server, address = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield address, loop
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _send(address: str, path: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(urlsplit(f"//{address}").netloc, timeout=600)
    try:
        connection.request("PUT", path.replace("{id}", "x"), body)
        return connection.getresponse().status
    except ConnectionError:  # It was told why, and the connection closed: the rest of its body had no reader.
        return 0
    finally:
        connection.close()


def _settled(loop: _TimedLoop) -> None:
    """Once two turns have ended that began after this was called."""
    for _ in range(2):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(600)


def _routes() -> Iterator[tuple[str, Endpoint]]:
    for route in API:
        endpoint = route.endpoints.get("PUT")
        if endpoint is not None and endpoint.body is not None:
            yield route.path, endpoint


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.costs", description=__doc__.splitlines()[0])
    parser.add_argument("--route", help="this one alone")
    parser.add_argument("--acl", action="store_true", help="access control is on, and nobody has a token")
    options = parser.parse_args()
    # As an agent does: otherwise the collector's walk through all that was imported is the worst turn.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 100)
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    print("| route | ms in one turn | of | MiB at a time | of |\n|---|---|---|---|---|")
    with _serving(options.acl) as (address, loop):
        for path, endpoint in _routes():
            if options.route in (None, path):
                print(_row(address, loop, path, endpoint), flush=True)


def _row(address: str, loop: _TimedLoop, path: str, endpoint: Endpoint) -> str:
    slowest, largest = (0.0, ""), (0.0, "")
    for shape, size in ((shape, size) for shape in SHAPES for size in SIZES):
        body = SHAPES[shape](size)
        _settled(loop)
        loop.worst = 0.0
        status = _send(address, path, body)
        _settled(loop)
        slowest = max(slowest, (loop.worst * 1000, f"{shape}, {len(body):,} bytes: {status or 'closed'}"))
    for shape in SHAPES:
        body = SHAPES[shape](FULL)
        tracemalloc.start()
        status = _send(address, path, body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        largest = max(largest, (peak / 2**20, f"{shape}, {len(body):,} bytes: {status or 'closed'}"))
    return f"| {endpoint.name} {path} | {slowest[0]:.1f} | {slowest[1]} | {largest[0]:.1f} | {largest[1]} |"


if __name__ == "__main__":
    main()
