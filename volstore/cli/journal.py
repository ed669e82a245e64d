"""`volstore journal`: checks and prints the log of a stopped node."""

from __future__ import annotations

import json
from pathlib import Path

import click

from volstore.cli.arguments import Group
from volstore.cli.output import Failed, echo, fields, print_json, table


@click.group(cls=Group, short_help="Check and print the log of a stopped node.")
def journal() -> None:
    """Check and print the log of a stopped node. Nothing is changed."""


_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@journal.command()
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(directory: Path, as_json: bool) -> None:
    """Read the whole log in DIR (a node's data directory) and check every record.

    The exit code is 1 if a node would refuse to start from it.
    """
    from volstore.agent import offline

    try:
        report = offline.verify_journal(directory)
    except offline.OfflineError as error:
        raise Failed(str(error)) from None
    if as_json:
        print_json(report)
    else:
        fields([(name.replace("_", " ").capitalize(), _words(value)) for name, value in report.items()])
        if report["problems"]:
            echo()
            rows = [[one["file"], one["offset"], one["fatal"], one["text"]] for one in report["problems"]]
            table(["File", "Offset", "Fatal", "Problem"], rows)
    if not report["ok"]:
        raise Failed(f"{directory}: the journal is damaged")


def _words(value: object) -> object:
    if isinstance(value, list):
        return len(value) if value and isinstance(value[0], dict) else " ".join(str(one) for one in value)
    return value


@journal.command()
@_DIRECTORY
def dump(directory: Path) -> None:
    """Print one line of JSON for each record of the log in DIR, without the content of commands: it may be secret.

    An unreadable record gives a line with a "problem", and exit code 1.
    """
    from volstore.agent import offline

    problems = 0
    try:
        for record in offline.dump_journal(directory):
            echo(json.dumps(record, sort_keys=True))
            problems += "problem" in record
    except offline.OfflineError as error:
        raise Failed(str(error)) from None
    if problems:
        raise Failed(f"{directory}: the journal is damaged, or ends in a write that never completed")
