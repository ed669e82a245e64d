"""An agent's process: start, signals, systemd notification, and exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import uvloop

from cluster.api import LogError
from volstore.agent import logs
from volstore.agent.agent import VERSION, Agent
from volstore.agent.cluster_admin import cluster_to_serve
from volstore.agent.config import AgentConfig, ConfigError
from volstore.agent.dev_node import DevNode, try_mounting
from volstore.agent.keys import KeysError
from volstore.agent.sample import try_next
from volstore.agent.tls import TlsError, members_client, tls_of
from volstore.core.errors import NoLeader

Reload = Callable[[], AgentConfig]
"""Reads the configuration again from its sources. Raises ConfigError."""

EXIT_WITHIN = 5.0
"""Seconds after which the process of a failed node ends in any case, for example with a hanging disk."""

_OF_CONNECTIONS = ("volstore.http.", "cluster.net.tcp")
"""Modules in which an uncaught exception concerns one connection only, mostly a stranger's."""
_OF_THE_NODE = ("volstore.http.server.watch", "volstore.http.server.deadlines")
"""Modules among those that serve all connections: nothing would wake a waiter any more."""

_log = structlog.get_logger("volstore.agent")


def run(config: AgentConfig, reload: Reload, *, with_node: bool = False) -> int:
    """Run a node, `with_node` one with a node agent beside it, until SIGTERM, SIGINT (exit code 0) or a defect (1).

    SIGHUP reads the configuration again.
    """
    logs.configure(config.log_level, config.log_format)
    _fill_standard_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(config, reload, with_node))


def _fill_standard_descriptors() -> None:
    """Where one of 0 to 2 was closed when the process began, the next socket would take its number, and libuv aborts
    the process when it closes such a one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        pass
    os.close(descriptor)


async def _run(config: AgentConfig, reload: Reload, with_node: bool) -> int:
    loop = asyncio.get_running_loop()
    dev_node = DevNode()
    loop.set_exception_handler(lambda loop, context: _report(context, lambda error: None))
    _raise_descriptor_limit()
    if exposed := config.exposed():
        _log.warning(
            "listening_unprotected",
            settings=exposed,
            risk="everybody who reaches these ports can do everything",
        )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # Until the agent has started there is nothing to reload; without a handler the signal would end the process.
    loop.add_signal_handler(signal.SIGHUP, lambda: _log.warning("reload_refused", reason="this node is starting"))
    try:
        tls = tls_of(config)
        members = members_client(config, tls)
        try:
            cluster_id = await _unless(stopping, cluster_to_serve(config, members))
        finally:
            await members.close()
        if cluster_id is None:
            return 0
        agent = Agent(config, cluster_id, tls)
        loop.set_exception_handler(lambda loop, context: _report(context, agent.log.fail))
        address = await agent.start()
        agent.log.failed.add_done_callback(lambda _failed: _end_soon(stopping))
    except (LogError, TlsError, KeysError, OSError) as error:
        _log.error("agent_cannot_start", reason=str(error))
        return 1
    try:
        loop.add_signal_handler(signal.SIGHUP, _reload, agent, reload)
        # A full collection of a large state would pause the node for tens of milliseconds. So objects from the start
        # are frozen, rows are mostly untracked (frozen.py), young objects are collected while they are few (1 to 2 ms),
        # and old ones rarely.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 100, 100)
        _log.info("agent_started", name=config.name, http=address, raft=config.raft_advertise, version=VERSION)
        _notify("READY=1")
        if config.dev:
            await agent.seed()
            if with_node:
                await dev_node.start(address, agent)
            _greet(address, with_node)
        await stopping.wait()
        if agent.log.failed.done():
            _log.error("agent_failed", reason=str(agent.log.failed.exception()))
            return 1
        _log.info("agent_stopping")
        return 0
    except NoLeader as error:
        _log.error("agent_cannot_seed", reason=error.text)
        return 1
    except OSError as error:
        _log.error("dev_node_can_not_start", reason=str(error))
        return 1
    finally:
        _notify("STOPPING=1")
        await dev_node.stop()
        await agent.stop()


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, str]) -> str | None:
    """The result of `work`; None if a signal to stop came first."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopped):
        task.cancel()
    found, _ = await asyncio.gather(working, stopped, return_exceptions=True)
    if isinstance(found, asyncio.CancelledError):
        return None
    if isinstance(found, BaseException):
        raise found
    return found


def _end_soon(stopping: asyncio.Event) -> None:
    """End a failed node: in order if possible, and by force after EXIT_WITHIN otherwise."""

    def end() -> None:
        time.sleep(EXIT_WITHIN - 1.0)
        _log.error("agent_exit_forced", reason=f"it didn't end within {EXIT_WITHIN - 1.0:g} s by itself")
        logs.flush(0.5)
        os._exit(1)

    threading.Thread(target=end, name="end", daemon=True).start()
    stopping.set()


def _greet(address: str, with_node: bool) -> None:
    try:
        print(_welcome(address, with_node), flush=True)  # noqa: T201 - for the person at the terminal, not for the log
    except OSError as error:
        _log.warning("welcome_not_printed", reason=str(error))


def _reload(agent: Agent, reload: Reload) -> None:
    """Apply the configuration, certificates and keys again. If one can't be used, nothing changes."""
    try:
        config = reload()
        agent.reload(config)
    except (ConfigError, TlsError, KeysError) as error:
        _log.error("reload_refused", reason=str(error))
        return
    except Exception as error:
        # Not what was foreseen, and no reason to end a node that works.
        _log.error("reload_failed", reason=str(error), exc_info=error)
        return
    logs.set_level(config.log_level)
    _log.info("reloaded", log_level=config.log_level, max_body_bytes=config.max_body_bytes)


def _report(context: dict[str, Any], fail: Callable[[BaseException], None]) -> None:
    """The event loop's exception handler: log the failure of a callback, or of a task that nobody awaits.

    A failure in a connection harms nobody else. A failure in a timer or task of the node itself ends the node.
    """
    error = context.get("exception")
    # Only types: the repr of a task may show a secret.
    where = {name: type(value).__name__ for name, value in context.items() if name not in ("message", "exception")}
    if isinstance(error, Exception) and "transport" not in context and _is_a_duty(error):
        fail(error)
    _log.error("loop_error", what=context.get("message", ""), reason=str(error or ""), exc_info=error, **where)


def _is_a_duty(error: Exception) -> bool:
    """Whether the exception comes from the node's own work, and not from the work for one connection."""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.startswith(("cluster.", "volstore.")):
            return module in _OF_THE_NODE or not module.startswith(_OF_CONNECTIONS)
        trace = trace.tb_next
    return False


def _raise_descriptor_limit() -> None:
    """Every waiting client needs an open file, and the default limit of a shell is low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            _log.warning("descriptor_limit_not_raised", limit=soft, reason=str(error))


def _notify(state: str) -> None:
    """Notify systemd of the service's state (sd_notify(3)), if it started this process."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.sendto(state.encode(), address)
    except OSError as error:
        _log.warning("systemd_not_notified", state=state, reason=str(error))


def _welcome(address: str, with_node: bool) -> str:
    shown = try_mounting(sys.argv[0]) if with_node else try_next(address, program=sys.argv[0])
    lines = "\n".join(f"  {line}" for line in shown)
    return (
        f"volstore {VERSION} serves http://{address} (one node, for trying things; Ctrl-C stops it). Try next:\n{lines}"
    )
