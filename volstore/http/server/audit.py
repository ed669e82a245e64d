"""The audit log: one line of JSON for each write and each denied request, appended by a thread of its own.

What comes while a line is being written is written with the next, so that a slow disk holds up nobody who needn't
wait for it. No secret is ever given to it: callers are named by their accessors, things by their IDs.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from volstore.core.errors import ApiError, NoLeader
from volstore.http.json.replies import Reply
from volstore.http.server.caller import HttpCaller
from volstore.http.server.declaration import Endpoint, Operation, Write

_LONGEST_OBJECT = 512
MOST_PENDING = 10_000
"""Entries that may wait for the disk; more are lost, and said to be."""

_log = structlog.get_logger("volstore.audit")
_encode = msgspec.json.Encoder(order="deterministic").encode


class AuditEntry(Struct, kw_only=True, omit_defaults=True):
    """`time` is RFC 3339. `outcome`: "attempted" (before a write, where it must be noted first), "done", "refused",
    "denied", "failed" or "unknown" (it may still be done). `object` is the path's IDs, in `namespace`.
    """

    time: str
    request_id: str
    accessor_id: str = ""
    address: str
    action: str
    method: str
    namespace: str = ""
    object: str = ""
    outcome: str
    status: int = 0
    index: int = 0


class AuditFailed(Exception):
    """The entry could not be written; the text says why, for the operator."""


class AuditLog:
    """Appends to `path`. `enforce`: an entry that can't be written is an error for who made it."""

    def __init__(self, path: Path, *, enforce: bool) -> None:
        """Raises OSError where the file can't be opened."""
        self.enforce = enforce
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._file = _open(path)
        self._pending: list[bytes] = []
        self._batch: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._failing = False

    def note(self, entry: AuditEntry) -> None:
        """Have it written soon. What can't be written is logged as lost."""
        if len(self._pending) >= MOST_PENDING:
            self._lost(1, "too many entries wait for the disk")
            return
        self._add(entry)

    async def write(self, entry: AuditEntry) -> None:
        """Return when it has been handed to the operating system. Raises AuditFailed."""
        if len(self._pending) >= MOST_PENDING:
            raise AuditFailed("too many entries wait for the disk")
        await asyncio.shield(self._add(entry))

    def reopen(self) -> None:
        """Write to a new file of that name from now on: the old one was moved away. The old one stays on failure."""
        self._thread.submit(self._reopen)

    async def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            await self._writer
        self._thread.shutdown(wait=True)
        os.close(self._file)

    def _add(self, entry: AuditEntry) -> asyncio.Future[None]:
        """The future of the batch that the entry is written with."""
        self._pending.append(_encode(entry) + b"\n")
        if self._batch is None:
            self._batch = asyncio.get_running_loop().create_future()
            # A batch that nobody waits for may fail without more ado: it was logged.
            self._batch.add_done_callback(lambda done: done.exception())
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return self._batch

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._batch is not None:
            lines, batch = self._pending, self._batch
            self._pending, self._batch = [], None
            try:
                await loop.run_in_executor(self._thread, self._append, b"".join(lines))
            except Exception as error:
                # Whatever it is: who waits for the entry must hear of it, and the next entry be tried.
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                self._lost(len(lines), reason)
                batch.set_exception(AuditFailed(reason))
            else:
                if self._failing:
                    self._failing = False
                    _log.info("audit_writes_again", file=str(self._path))
                batch.set_result(None)

    def _append(self, data: bytes) -> None:
        """In the thread."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]

    def _reopen(self) -> None:
        try:
            opened = _open(self._path)
        except OSError as error:
            _log.error("audit_file_not_reopened", file=str(self._path), reason=error.strerror)
            return
        old, self._file = self._file, opened
        os.close(old)
        _log.info("audit_file_reopened", file=str(self._path))

    def _lost(self, count: int, reason: str) -> None:
        """Said once, and again when it works again: a full disk must not fill the log, too."""
        if not self._failing:
            _log.error("audit_entries_lost", file=str(self._path), count=count, reason=reason)
        self._failing = True


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def changes(endpoint: Endpoint | None, method: str) -> bool:
    """Whether this is a write, or an operator's change. Heartbeats aren't: they change nothing by themselves."""
    if isinstance(endpoint, Operation):
        return method not in ("GET", "HEAD") and endpoint.name != "heartbeat"
    return isinstance(endpoint, Write)


class AuditedRequest:
    """One request that may have to be noted."""

    def __init__(self, log: AuditLog | None, request_id: str, method: str) -> None:
        self._log = log
        self._request_id = request_id
        self._method = method
        self._endpoint: Endpoint | None = None
        self._caller: HttpCaller | None = None
        self._object = ""
        self._namespace = ""

    def begins(self, endpoint: Endpoint, caller: HttpCaller, ids: tuple[str, ...], namespace: str) -> bool:
        """Whether it must be noted (`note_attempt`) before anything else is done."""
        if self._log is None:
            return False
        self._endpoint, self._caller = endpoint, caller
        self._object, self._namespace = "/".join(ids)[:_LONGEST_OBJECT], namespace
        return self._log.enforce and changes(endpoint, self._method)

    async def note_attempt(self) -> None:
        """Raises ApiError 503 where it can't be noted."""
        assert self._log is not None
        try:
            await self._log.write(self._entry("attempted"))
        except AuditFailed as error:
            _log.error("write_refused_unaudited", reason=str(error), request_id=self._request_id)
            raise ApiError(503, "the audit log can't be written, so nothing may be changed", retry_after=5) from None

    def ended(self, reply: Reply, error: Exception | None) -> None:
        """Note how it went, if that is to be noted: each write, and each request that was denied."""
        if self._log is None or not (reply.status == 403 or changes(self._endpoint, self._method)):
            return
        entry = self._entry(_outcome(reply.status, error))
        entry.status = reply.status
        entry.index = int(reply.headers.get("X-Nomad-Index", 0))
        self._log.note(entry)

    def left(self) -> None:
        """The client hung up before the answer: nobody can tell it whether it was done."""
        if self._log is not None and changes(self._endpoint, self._method):
            self._log.note(self._entry("unknown"))

    def _entry(self, outcome: str) -> AuditEntry:
        caller, endpoint = self._caller, self._endpoint
        return AuditEntry(
            time=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            request_id=self._request_id,
            accessor_id=caller.accessor_id if caller is not None else "",
            address=caller.address if caller is not None else "",
            action=endpoint.name if endpoint is not None else "",
            method=self._method,
            namespace=self._namespace,
            object=self._object,
            outcome=outcome,
        )


NOT_AUDITED = AuditedRequest(None, "", "")
"""Every request while there is no audit log: it notes nothing and keeps nothing."""


def _outcome(status: int, error: Exception | None) -> str:
    if status == 403:
        return "denied"
    if isinstance(error, NoLeader) and error.may_happen:
        return "unknown"
    if status >= 500:
        return "failed"
    return "refused" if status >= 400 else "done"
