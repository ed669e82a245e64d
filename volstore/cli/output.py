"""Prints answers and errors: aligned text as Nomad prints it, with colours on a terminal, JSON, or a template."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from volstore.cli.template import Template, TemplateError
from volstore.client import ClientError
from volstore.private_files import replace_private
from volstore.text import printable

NONE = "<none>"
_BAD = ("false", "failed", "down", "lost", "left")


class Failed(click.ClickException):
    """The command failed: one line on stderr, exit code 1."""

    def show(self, file: Any = None) -> None:
        complain(self.message)


def complain(text: str) -> None:
    """Print one line on stderr. `text` may quote users or servers, so line breaks and control characters go."""
    click.echo(" ".join(_cell(line.strip()) for line in text.splitlines() if line.strip()), err=True)


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """Turn a failed request into Failed: "Error DOING: REASON"."""
    try:
        yield
    except ClientError as error:
        raise Failed(f"Error {doing}: {error}") from None


def write_private(target: Path, content: bytes) -> None:
    """Write a file that only its owner may read, atomically. Raises Failed."""
    try:
        replace_private(target, content)
    except OSError as error:
        raise Failed(f"Error writing {target}: {error.strerror}") from None


def _cell(value: object) -> str:
    """`value` as printable text. Booleans and empty values look as in Nomad's output."""
    if value is None or value == "":
        return NONE
    return printable(str(value).lower() if isinstance(value, bool) else str(value))


class CanNotPrint(Exception):
    """Our output can't be written, for example because a disk is full. (A closed pipe raises BrokenPipeError.)"""


def echo(text: str = "") -> None:
    """Print a line. Raises CanNotPrint, BrokenPipeError."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CanNotPrint(f"can't write the output: {error.strerror}") from None


def _on_a_terminal() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Print `Name = value` lines, with the equals signs aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        text = _cell(value)
        label = f"{name:<{width}}"
        if _on_a_terminal():
            label = click.style(label, bold=True)
            text = click.style(text, fg="red") if text in _BAD else text
        echo(f"{label} = {text}")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns, two spaces apart."""
    texts = [[_cell(cell) for cell in row] for row in rows]
    if _on_a_terminal():
        _rich_table(headers, texts)
        return
    lines = [list(headers), *texts]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        shown.add_column(header, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell, style="red" if cell in _BAD else "") for cell in row))
    Console().print(shown)


def print_json(value: Any) -> None:
    """Print JSON as Nomad's -json does: keys sorted, indented by four."""
    echo(json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a command's output: for people, as JSON, or by a template."""

    as_json: bool = False
    template: Template | None = None

    @property
    def for_people(self) -> bool:
        return not self.as_json and self.template is None

    def prints(self, value: Any) -> bool:
        """Print `value` as JSON or by the template. False: the caller prints it for people. Raises Failed."""
        if self.as_json:
            print_json(value)
        elif self.template is not None:
            try:
                echo(self.template.render(value))
            except TemplateError as error:
                raise Failed(f"-t: {error}") from None
        return not self.for_people


def read_form(as_json: bool, template: str | None) -> Form:
    """The form that the options --json and -t ask for. Raises click.UsageError."""
    if template is None:
        return Form(as_json)
    if as_json:
        raise click.UsageError("give --json or -t, not both")
    try:
        return Form(template=Template(template))
    except TemplateError as error:
        raise click.UsageError(f"-t: {error}") from None


def only_match(
    found: Sequence[Any], wanted: str, what: str, show: Callable[[Sequence[Any]], None] | None = None
) -> Any:
    """The only item in `found`, which are the `what`s whose ID begins with `wanted`.

    Raises Failed if there is none or more than one; `show` prints more than one first.
    """
    if not found:
        raise Failed(f'No {what}(s) with prefix or ID "{wanted}" found')
    if len(found) > 1:
        if show is not None:
            show(found)
        raise Failed(f'Prefix "{wanted}" matched multiple {what}s ({len(found)}); give the whole ID')
    return found[0]


def ago(nanoseconds: object, now: float) -> str:
    """The age of a time in nanoseconds at `now` (seconds since 1970), in its two largest units."""
    if not isinstance(nanoseconds, int) or nanoseconds <= 0:
        return NONE
    seconds = max(0, int(now - nanoseconds / 1e9))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return "".join(parts[:2] or ["0s"]) + " ago"
