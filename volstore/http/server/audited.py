"""What the audit log is told of a request, and when: before a write that must be noted, and after each one's end."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from volstore.core.errors import ApiError, NoLeader
from volstore.http.json.replies import Reply
from volstore.http.server.asker import Asker
from volstore.http.server.audit import AuditEntry, AuditFailed, AuditLog
from volstore.http.server.declaration import Endpoint, Operation, Write

_log = structlog.get_logger("volstore.audit")
_LONGEST_OBJECT = 512


def changes(endpoint: Endpoint | None, method: str) -> bool:
    """Whether this is a write, or an operator's change. Heartbeats aren't: they change nothing by themselves."""
    if isinstance(endpoint, Operation):
        return method not in ("GET", "HEAD") and endpoint.name != "heartbeat"
    return isinstance(endpoint, Write)


class Audited:
    """One request that may have to be noted."""

    def __init__(self, log: AuditLog | None, request_id: str, method: str) -> None:
        self._log = log
        self._request_id = request_id
        self._method = method
        self._endpoint: Endpoint | None = None
        self._asker: Asker | None = None
        self._object = ""
        self._namespace = ""

    def begins(self, endpoint: Endpoint, asker: Asker, ids: tuple[str, ...], namespace: str) -> bool:
        """Whether it must be noted (`note_attempt`) before anything else is done."""
        if self._log is None:
            return False
        self._endpoint, self._asker = endpoint, asker
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
        asker, endpoint = self._asker, self._endpoint
        return AuditEntry(
            time=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            request_id=self._request_id,
            accessor_id=asker.accessor_id if asker is not None else "",
            address=asker.address if asker is not None else "",
            action=endpoint.name if endpoint is not None else "",
            method=self._method,
            namespace=self._namespace,
            object=self._object,
            outcome=outcome,
        )


def _outcome(status: int, error: Exception | None) -> str:
    if status == 403:
        return "denied"
    if isinstance(error, NoLeader) and error.may_happen:
        return "unknown"
    if status >= 500:
        return "failed"
    return "refused" if status >= 400 else "done"
