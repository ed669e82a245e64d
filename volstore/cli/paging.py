"""The options of list commands, as Nomad spells them: a filter and pages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from volstore.cli.output import complain
from volstore.client import Client


@dataclass(frozen=True, slots=True)
class Paging:
    """The options of a list as query parameters; empty ones are omitted."""

    filter: str = ""
    per_page: str = ""
    next_token: str = ""
    reverse: str = ""

    @property
    def given(self) -> bool:
        return self != NOT_PAGED

    def fetch(self, client: Client, path: str, **parameters: str) -> Any:
        """Fetch a list. If there are more pages, print on stderr how to see the next one. Raises ClientError."""
        asked = {"filter": self.filter, "per_page": self.per_page, "next_token": self.next_token}
        found, token = client.page(path, {**parameters, **asked, "reverse": self.reverse})
        if token:
            complain(f"Results have been paginated. For the next page, run the command again with -page-token {token}")
        return found


NOT_PAGED = Paging()


def list_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: adds -filter, -per-page, -page-token and -reverse, and passes them as `paging`."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        paging = Paging(
            kwargs.pop("filter_") or "",
            str(kwargs.pop("per_page") or ""),
            kwargs.pop("page_token") or "",
            "true" if kwargs.pop("reverse") else "",
        )
        return function(*args, paging=paging, **kwargs)

    for option in (
        click.option("--reverse", is_flag=True, help="List in reverse order."),
        click.option("--page-token", metavar="TOKEN", help="Begin at the page of this token."),
        click.option(
            "--per-page", metavar="N", type=click.IntRange(0, 2**31 - 1), help="List at most this many items."
        ),
        click.option(
            "--filter", "filter_", metavar="EXPRESSION", help="List matching items only, e.g. 'PluginID == \"ebs\"'."
        ),
    ):
        command = option(command)
    return command
