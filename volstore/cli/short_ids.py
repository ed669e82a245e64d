"""Short IDs, as lists print them: the beginning of one is as good as the whole where only one begins so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from volstore.cli.output import Failed
from volstore.client import Client, HttpError

T = TypeVar("T")


def only_one(what: str, given: str, ids: Iterable[str]) -> str | None:
    """The only one of `ids` that begins with `given`, None where none does. Raises Failed where several do."""
    found = sorted({id for id in ids if id.startswith(given)})
    if len(found) > 1:
        raise Failed(f'Prefix "{given}" matched multiple {what} ({len(found)}); give the whole ID')
    return found[0] if found else None


def with_whole_id(given: str, do: Callable[[str], T], find: Callable[[str], str | None]) -> T:
    """What `do` gives for the ID as it was given, and where that isn't there, for the one that `find` finds for it.

    A whole ID is asked for once, and needs no right to list.
    """
    try:
        return do(given)
    except HttpError as error:
        if error.status not in (400, 404):  # Nomad answers 400 for some
            raise
        whole = _found(find, given, error)
        if whole == given:
            raise
    return do(whole)


def _found(find: Callable[[str], str | None], given: str, refused: HttpError) -> str:
    """`given` where there is none, or none that the caller may list: the refusal of `given` says more."""
    try:
        return find(given) or given
    except HttpError:
        raise refused from None


def find_allocation(client: Client, given: str) -> str | None:
    """In the namespace of the connection."""
    return only_one("allocations", given, (row["ID"] for row in client.get("/v1/allocations", prefix=given)))


def find_token(client: Client, given: str) -> str | None:
    found = client.get("/v1/acl/tokens", prefix=given)
    return only_one("tokens", given, (row["AccessorID"] for row in found))
