"""The agent as a service: puts identity, registry, plugins, agent and control socket together, and runs until told
to stop. What is mounted stays mounted then: the next start goes on with it."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import structlog

from volstore.node.agent import Agent
from volstore.node.control import Control
from volstore.node.host import Host, Refused, read_boot_id
from volstore.node.identity import IdentityError, load_identity
from volstore.node.journal import Journal, JournalError
from volstore.node.mounting import Mounting
from volstore.node.paths import Paths
from volstore.node.plugins import Plugins
from volstore.node.registration import Registration
from volstore.node.registry import Registry
from volstore.node.settings import NodeSettings

_PR_SET_DUMPABLE = 4

log = structlog.get_logger()


class CannotRun(Exception):
    """The agent can't run here; the text says why."""


async def run(settings: NodeSettings) -> None:
    """Until SIGTERM or SIGINT. Raises CannotRun."""
    _keep_out_of_core_dumps()
    try:
        identity = load_identity(settings.state_dir)
        lock = _lock(settings.state_dir)
        journal = Journal(settings.state_dir / "volumes")
        host = Host(Paths(settings.base_dir))
        registry = Registry(settings.servers, identity, tls=_tls(settings), token_file=settings.token_file)
    except (IdentityError, JournalError, ValueError, OSError) as error:
        raise CannotRun(str(error)) from None
    registration: Registration | None = None

    def plugins(on_change: Any) -> Plugins:
        def changed(plugin_id: str) -> None:
            on_change(plugin_id)
            if registration is not None:
                registration.changed()

        return Plugins(settings.plugins, changed)

    agent = Agent(host, journal, plugins, registry, registry, boot_id=read_boot_id())
    registration = Registration(registry, agent.plugins.all, name=settings.name, datacenter=settings.datacenter)
    control = Control(
        settings.socket,
        Mounting(agent, registry, lambda: registration.problem),
        lambda: {
            "NodeID": identity.id,
            "Registered": registration.registered.is_set() and not registration.problem,
            "Problem": registration.problem,
            "Servers": list(settings.servers),
            "Plugins": [
                {"ID": plugin.id, "Healthy": not plugin.why_not, "Description": plugin.why_not}
                for plugin in agent.plugins.all()
            ],
            **agent.status(),
        },
    )
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("node_agent_starts", node=identity.id, servers=list(settings.servers), plugins=sorted(settings.plugins))
    async with registry:
        tasks = [asyncio.create_task(work) for work in (agent.run(), registration.run(), control.serve(_tell_systemd))]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in tasks if task.done()]
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
    os.close(lock)
    for task in ended:
        _raise(task.exception())


def _lock(directory: Path) -> int:
    """Of two agents with one memory each would undo what the other does. Raises CannotRun."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotRun(f"another agent runs with {directory}: stop it, or give this one another state_dir") from None
    return descriptor


def _raise(error: BaseException | None) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, JournalError | Refused | OSError):
        raise CannotRun(str(error)) from None
    if error is not None:
        raise error


def _tls(settings: NodeSettings) -> ssl.SSLContext | None:
    if not any(server.startswith("https://") for server in settings.servers):
        return None
    context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def _keep_out_of_core_dumps() -> None:
    """Secrets of volumes pass through this process's memory."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _tell_systemd() -> None:
    log.info("node_agent_serves")
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else str(Path(address)))
            sender.send(b"READY=1")
