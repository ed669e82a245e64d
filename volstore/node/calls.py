"""Calls to one driver over its unix socket: a deadline for each, an error in one shape, no secret in any text."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from grpclib.client import Channel, Handler, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from volstore.node import csi
from volstore.node.codes import NOT_SENT
from volstore.node.protobuf import Message, WireError

LONGEST_TEXT = 4096
"""Characters of a driver's message that are kept."""
LONGEST_SOCKET_PATH = 107
"""Bytes; the kernel's limit for the path of a unix socket."""
_SHORTEST_SECRET = 3
"""Characters; a shorter secret isn't blanked out, as that would blank out half of every text."""


class CallFailed(Exception):
    """A call that wasn't answered with OK. `code` is gRPC's name, or NOT_SENT; `text` may be shown to anybody."""

    def __init__(self, call: str, code: str, text: str) -> None:
        super().__init__(f"{call}: {code}: {text}" if text else f"{call}: {code}")
        self.call = call
        self.code = code
        self.text = text


class _Codec(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Message) -> bytes:
        return message_type.encode(message)

    def decode(self, data: bytes, message_type: Message) -> dict[str, Any]:
        return message_type.decode(data)


CODEC: CodecBase = _Codec()


class _LossTeller(Handler):
    """Tells when the connection is lost."""

    def __init__(self, lost: asyncio.Event) -> None:
        self._lost = lost

    def close(self) -> None:
        super().close()
        self._lost.set()


class _UnixChannel(Channel):
    """A channel that looks at who listens before it says anything."""

    def __init__(self, path: str) -> None:
        super().__init__(path=path, codec=CODEC)
        self.lost = asyncio.Event()
        self.listener: Process | None = None
        self._authority = "localhost"  # some drivers refuse an authority that is a path, as Go's net/http does
        self._socket_path = path

    def _protocol_factory(self) -> H2Protocol:
        return H2Protocol(_LossTeller(self.lost), self._config, self._h2_config)

    async def _create_connection(self) -> H2Protocol:
        self.lost.clear()
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            await asyncio.get_running_loop().sock_connect(found, self._socket_path)
            self.listener = _check_listener(found, self._socket_path)
            _, protocol = await asyncio.get_running_loop().create_unix_connection(self._protocol_factory, sock=found)
        except BaseException:
            found.close()
            raise
        return protocol


class Process(NamedTuple):
    """One process of this boot: a number is used again, but not with the same start."""

    pid: int
    start: str

    def is_gone(self) -> bool:
        return _start_of(self.pid) != self.start


def _start_of(pid: int) -> str:
    """When a process started, in ticks since the boot; empty if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  # one line of the kernel's
            # The name may hold anything, brackets too; the fields after it are counted from the last bracket.
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _check_listener(found: socket.socket, path: str) -> Process:
    """Who listens there. Raises PermissionError if that is neither root nor ourselves: secrets go to a driver."""
    credentials = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, peer_uid, _ = struct.unpack("3i", credentials)
    if peer_uid not in (0, os.geteuid()):
        raise PermissionError(f"the process that listens at {path} runs as user {peer_uid}, not as root")
    directory = os.stat(os.path.dirname(path) or ".")  # noqa: PTH116, PTH120  # one look at a local directory
    others_write = directory.st_uid not in (0, os.geteuid()) or directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others_write and not directory.st_mode & stat.S_ISVTX:
        raise PermissionError(f"others than root may write in the directory of {path}")
    return Process(pid, _start_of(pid))


class Driver:
    """A driver at a socket. It connects when first called and again after the connection was lost."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._channel = _UnixChannel(path)

    async def call(self, name: str, request: Mapping[str, Any], *, timeout_seconds: float) -> dict[str, Any]:
        """The answer of one of `csi.CALLS`. Raises CallFailed, after `timeout_seconds` at the latest.

        Cancelling it cancels the call on the wire; the driver may carry it out all the same.
        """
        call = csi.CALLS[name]
        secrets = tuple(_secrets(request))
        sent = False
        try:
            async with asyncio.timeout(timeout_seconds):
                if len(os.fsencode(self.path)) > LONGEST_SOCKET_PATH:
                    raise OSError(f"a socket's path has at most {LONGEST_SOCKET_PATH} bytes")
                await self._channel.__connect__()
                sent = True
                method: UnaryUnaryMethod[Any, Any] = UnaryUnaryMethod(
                    self._channel, csi.path(name), cast(Any, call.request), cast(Any, call.response)
                )
                answer = await method(dict(request), timeout=timeout_seconds)
        except GRPCError as error:
            code = error.status.name if isinstance(error.status, Status) else str(error.status)
            raise CallFailed(name, code, shown(error.message or "", secrets)) from None
        except TimeoutError:
            text = f"no answer within {timeout_seconds:g} s"
            raise CallFailed(name, "DEADLINE_EXCEEDED" if sent else NOT_SENT, text) from None
        except WireError as error:
            raise CallFailed(name, "INTERNAL", shown(f"the driver's answer can't be read: {error}", secrets)) from None
        except (OSError, StreamTerminatedError, ProtocolError) as error:
            code = "UNAVAILABLE" if sent else NOT_SENT
            raise CallFailed(name, code, shown(_in_words(error, self.path), secrets)) from None
        except Exception as error:  # bytes that aren't HTTP/2 fail in many ways; none of them may end the agent
            if not sent:
                raise
            raise CallFailed(name, "UNAVAILABLE", shown(f"{type(error).__name__}: {error}", secrets)) from None
        if answer is None:
            raise CallFailed(name, "UNAVAILABLE", "the driver ended the call without an answer")
        return cast("dict[str, Any]", answer)

    @property
    def listener(self) -> Process | None:
        """The process that was connected to last."""
        return self._channel.listener

    async def lost(self) -> None:
        """Returns as soon as the connection that was made last is lost."""
        await self._channel.lost.wait()

    def close(self) -> None:
        self._channel.close()


def _in_words(error: Exception, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no socket at {path}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {path}"
    return str(error) or type(error).__name__


def shown(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A driver's text as it may be shown: cut, on one line, without control characters and known secrets."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + "…"
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def _secrets(request: Mapping[str, Any]) -> Iterator[str]:
    """Whatever lies in fields that may hold secrets, the longest first."""
    found: set[str] = set()

    def gather(value: Any) -> None:
        if isinstance(value, str):
            if len(value) >= _SHORTEST_SECRET:
                found.add(value)
        elif isinstance(value, Mapping):
            for item in value.values():
                gather(item)
        else:
            for item in value:
                gather(item)

    def look(value: Mapping[str, Any]) -> None:
        for name, item in value.items():
            if name in csi.SECRET_FIELDS:
                gather(item)
            elif isinstance(item, Mapping):
                look(item)

    look(request)
    return iter(sorted(found, key=len, reverse=True))
