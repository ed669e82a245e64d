"""How answers are printed: aligned text as Nomad prints it, with colours where a person's terminal shows them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from volstore.cli.template import Template, TemplateError
from volstore.private_files import replace_private

NONE = "<none>"
_BAD = ("false", "failed", "down", "lost", "left")


class Failed(click.ClickException):
    """The command didn't do what it was asked to: one line on stderr, exit code 1."""

    def show(self, file: Any = None) -> None:
        complain(self.message)


def complain(text: str) -> None:
    """One line on stderr, whatever `text` holds: it may quote what a user or a server wrote."""
    click.echo(" ".join(printable(line.strip()) for line in text.splitlines() if line.strip()), err=True)


def write_private(target: Path, content: bytes) -> None:
    """A file for its owner alone, whole or not at all. Raises Failed."""
    try:
        replace_private(target, content)
    except OSError as error:
        raise Failed(f"Error writing {target}: {error.strerror}") from None


def printable(value: object) -> str:
    """`value` as text in which nothing can steer a terminal; booleans and nothing as Go writes them."""
    if value is None or value == "":
        return NONE
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class CanNotPrint(Exception):
    """Our output can't be written (a full disk, say); a pipe that was closed is BrokenPipeError instead."""


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
    """`Name = value` lines with the signs of equality one below the other."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        text = printable(value)
        label = f"{name:<{width}}"
        if _on_a_terminal():
            label = click.style(label, bold=True)
            text = click.style(text, fg="red") if text in _BAD else text
        echo(f"{label} = {text}")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns two spaces apart."""
    texts = [[printable(cell) for cell in row] for row in rows]
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
    """As Nomad's -json: keys sorted, indented by four."""
    echo(json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False))


def read_template(as_json: bool, template: str | None) -> Template | None:
    """The template that was asked for. Raises click.UsageError when it can't be followed."""
    if template is None:
        return None
    if as_json:
        raise click.UsageError("give --json or -t, not both")
    try:
        return Template(template)
    except TemplateError as error:
        raise click.UsageError(f"-t: {error}") from None


def print_by_template(template: Template, value: Any) -> None:
    try:
        echo(template.render(value))
    except TemplateError as error:
        raise Failed(f"-t: {error}") from None


def ago(nanoseconds: object, now: float) -> str:
    """How long before `now` (seconds since 1970) a time in nanoseconds was, in its two largest units."""
    if not isinstance(nanoseconds, int) or nanoseconds <= 0:
        return NONE
    seconds = max(0, int(now - nanoseconds / 1e9))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return "".join(parts[:2] or ["0s"]) + " ago"
