"""Text that people write and read: addresses, misspelt names, and what a terminal may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\[\]:]*)):(?P<port>\d{1,5})", re.ASCII)


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of "HOST:PORT". An IPv6 host is in brackets, and is returned without them. Raises ValueError."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535 or not (found["six"] or _HOST.fullmatch(found["host"])):
        raise ValueError(f'{address!r} is not HOST:PORT; write one like "10.0.0.1:4646" or "[::1]:4646"')
    return found["six"] or found["host"], int(found["port"])


def join_address(host: str, port: object) -> str:
    """ "HOST:PORT", with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The name in `known` that is nearest to `word`; case, dashes and underscores don't count. None if none is near."""
    import difflib  # here: most commands never need it

    def plain(name: str) -> str:
        return name.replace("_", "").replace("-", "").lower()

    by_plain_name = {plain(name): name for name in known}
    close = difflib.get_close_matches(plain(word), by_plain_name, n=1, cutoff=0.7)
    return by_plain_name[close[0]] if close else None


def printable(text: str, also: str = "") -> str:
    """`text` with control characters and lone surrogates escaped, so that it can't steer a terminal or a browser.

    Characters in `also` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in also else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int) -> str:
    """At most `most` characters of `text`; an ellipsis says that some are missing."""
    return text if len(text) <= most else f"{text[:most]}…"
