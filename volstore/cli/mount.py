"""`volstore mount`, `unmount` and `mounts`: volumes on this host, by its node agent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from volstore.cli.arguments import SingleDash
from volstore.cli.node_socket import answer, ask, socket_option
from volstore.cli.output import complain, echo, print_json, table
from volstore.units import parse_duration


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), parameter, ctx)


_namespace = click.option(
    "--namespace",
    envvar=["VOLSTORE_NAMESPACE", "NOMAD_NAMESPACE"],
    default="default",
    show_default=True,
    help="The volume's namespace.",
)
_wait = click.option(
    "--wait", type=_Duration(), default="5m", show_default=True, metavar="DURATION", help="Give up after so long."
)


@click.command("mount", cls=SingleDash)
@click.argument("volume")
@click.argument("path")
@click.option("--ro", "read_only", is_flag=True, help="To read only.")
@click.option("--job", default="mount", show_default=True, help="What it is for: writers of one job share a volume.")
@_wait
@_namespace
@socket_option
def mount(volume: str, path: str, read_only: bool, job: str, wait: float, namespace: str, socket_path: Path) -> None:
    """Mount VOLUME at PATH on this host, or where the node agent has it, for PATH -.

    It waits until the volume is there, or says why it isn't and undoes what it began; so does Ctrl-C. PATH is made
    if it isn't there; it must be empty. The last line of standard output is the path. A mount that is there already is
    done. It outlives this command and the node agent: see `volstore unmount`. Exit code 0 mounted, 1 refused.
    """
    request = {
        "Do": "mount",
        "Volume": volume,
        "Path": "" if path == "-" else os.path.abspath(path),  # noqa: PTH100  # resolves no links: the agent refuses them
        "ReadOnly": read_only,
        "Job": job,
        "Wait": wait,
        "Namespace": namespace,
    }
    _show(ask(socket_path, request))


@click.command("unmount", cls=SingleDash)
@click.argument("what", metavar="VOLUME|PATH")
@click.option("--force", is_flag=True, help="Unmount it even without the plugin, and while it is in use.")
@_wait
@_namespace
@socket_option
def unmount(what: str, force: bool, wait: float, namespace: str, socket_path: Path) -> None:
    """Unmount what `volstore mount` mounted, and let others have the volume once nothing of it is left here."""
    if what.startswith((".", "/")):
        what = os.path.abspath(what)  # noqa: PTH100  # as above
    _show(ask(socket_path, {"Do": "unmount", "What": what, "Force": force, "Wait": wait, "Namespace": namespace}))


@click.command("mounts", cls=SingleDash)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@socket_option
def mounts(as_json: bool, socket_path: Path) -> None:
    """List what is claimed on this host, and what is there of it."""
    found = answer(socket_path, {"Do": "mounts"})
    if as_json:
        print_json(found)
    elif not found:
        echo("Nothing is mounted")
    else:
        table(
            ["Volume", "Namespace", "Path", "Mode", "State", "Error"],
            [[one[key] for key in ("Volume", "Namespace", "Path", "Mode", "State", "Error")] for one in found],
        )


def _show(said: Iterator[dict[str, Any]]) -> None:
    """Steps go to a terminal's standard error; a path to standard output."""
    for line in said:
        if line.get("Kind") == "path":
            echo(line["Text"])
        elif line.get("Kind") == "waits":
            complain(f"waits: {line['Text']}")
        elif line.get("Kind") == "step" and sys.stderr.isatty():
            complain(line["Text"])
