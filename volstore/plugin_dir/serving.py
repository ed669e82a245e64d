"""Serves CSI's calls at a unix socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from volstore.node import csi
from volstore.node.calls import CODEC

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Refusal(Exception):
    """Answered with gRPC's `code` and `text`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class _Served:
    """grpclib's view of some calls."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    def __mapping__(self) -> dict[str, Handler]:
        return {csi.path(name): self._handler(name, answer) for name, answer in self._answers.items()}

    def _handler(self, name: str, answer: Answer) -> Handler:
        async def handle(stream: Any) -> None:
            request = await stream.recv_message()
            try:
                response = await answer(request or {})
            except Refusal as refusal:
                raise GRPCError(Status[refusal.code], refusal.text) from None
            except OSError as error:
                raise GRPCError(Status.INTERNAL, f"{error.filename or name}: {error.strerror}") from None
            await stream.send_message(response)

        call = csi.CALLS[name]
        return Handler(handle, Cardinality.UNARY_UNARY, call.request, call.response)


def listen(path: Path) -> socket.socket:
    """A listening socket, 0600, in place of one that a killed process left. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    _remove(path)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    listener.listen(128)
    return listener


async def serve(answers: Mapping[str, Answer], path: Path, *, ready: Callable[[], None]) -> None:
    """Until SIGINT or SIGTERM. A call without an answer here is UNIMPLEMENTED. Raises OSError."""
    server = Server([_Served(answers)], codec=CODEC)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.start(sock=listen(path))
    ready()
    await stop.wait()
    server.close()
    await server.wait_closed()
    _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
