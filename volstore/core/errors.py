"""The one hierarchy of errors that a client may see: an HTTP status and a text that says what would be right."""

from __future__ import annotations


class ApiError(Exception):
    """Answered as `status` with `text`. `retry_after` is in seconds; `allow` lists methods (405)."""

    def __init__(
        self, status: int, text: str, *, retry_after: int | None = None, allow: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.retry_after = retry_after
        self.allow = allow


def shortened(text: str, longest: int) -> str:
    """`text` as an error shows it: at most `longest` characters of it, and a sign that there were more."""
    return text if len(text) <= longest else text[:longest] + "…"


class NoLeader(ApiError):
    """No leader was found before the deadline. `may_happen` says that a write may still be applied later."""

    def __init__(self, *, may_happen: bool | None = None) -> None:
        text = "No cluster leader"
        if may_happen is not None:
            text += ": the write may still be applied" if may_happen else ": the write was not applied"
        super().__init__(503, text, retry_after=1)
        self.may_happen = may_happen


class NotKnownToAll(ApiError):
    """A member couldn't apply this yet: nothing was proposed."""

    def __init__(self, text: str) -> None:
        super().__init__(503, text, retry_after=10)


class Overloaded(ApiError):
    """A limit of this node; nothing was done."""

    def __init__(self, text: str) -> None:
        super().__init__(429, text, retry_after=1)
