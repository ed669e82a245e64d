"""Reads arguments: Nomad's single-dash options, lazily loaded commands, and the options that commands share."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from volstore.cli.output import Failed, read_form
from volstore.client import Client, ClientError, Connection, from_environment

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
MAX_FILE_BYTES = 4 << 20
"""The default limit of a server for one body."""


class SingleDash(click.Command):
    """A command that accepts `-json` and `-address=x` for `--json` and `--address=x`, as Nomad's do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        short = {name for option in options for name in option.opts if len(name) == 2}
        switches = {name for option in options if option.is_flag for name in option.opts}
        return super().parse_args(ctx, _double_dashes(args, short, switches))


def _double_dashes(args: list[str], short: set[str], switches: set[str]) -> list[str]:
    """Turn `-word` into `--word`, unless it is a one-letter option with its value. Arguments after `--` stay.

    As in Go, a switch may have a value: `-force=true` is `--force`, and `-force=false` leaves it out.
    """
    rewritten: list[str] = []
    for position, arg in enumerate(args):
        if arg == "--":
            return rewritten + args[position:]
        is_word = len(arg) > 2 and arg[0] == "-" and arg[1].isalpha() and (arg[2].isalnum() or arg[2] in "-_=")
        attached = arg[:2] in short and not arg[2:].partition("=")[0].replace("-", "_").isidentifier()
        word = "-" + arg if is_word and not attached else arg
        name, _, value = word.partition("=")
        if name in switches and value in ("true", "false"):
            rewritten += [name] if value == "true" else []
        else:
            rewritten.append(word)
    return rewritten


class LazyGroup(SingleDash, click.Group):
    """A group that imports the module of a command when the command is used."""

    def __init__(self, *args: Any, modules: dict[str, str], **kwargs: Any) -> None:
        """`modules`: command name → "module:attribute"."""
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        module, _, attribute = self._modules[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


class Group(SingleDash, click.Group):
    """A group whose commands are in the same module."""

    command_class = SingleDash


_CONNECTION_OPTIONS = (
    ("address", "URL", "The server [VOLSTORE_ADDR, NOMAD_ADDR; default http://127.0.0.1:4646]."),
    ("token", "SECRET", "The secret of a token [VOLSTORE_TOKEN, NOMAD_TOKEN]."),
    ("namespace", "NAME", "The namespace [VOLSTORE_NAMESPACE, NOMAD_NAMESPACE; default: default]."),
    ("region", "NAME", "The region [VOLSTORE_REGION, NOMAD_REGION; default: the server's]."),
    ("ca-cert", "FILE", "PEM file of the trusted authority, for https [VOLSTORE_CACERT, NOMAD_CACERT]."),
    ("client-cert", "FILE", "PEM file of the client certificate [VOLSTORE_CLIENT_CERT, NOMAD_CLIENT_CERT]."),
    ("client-key", "FILE", "PEM file of its key [VOLSTORE_CLIENT_KEY, NOMAD_CLIENT_KEY]."),
    ("tls-server-name", "NAME", "The name in the server's certificate [VOLSTORE_TLS_SERVER_NAME, …]."),
)


def connected(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: adds the options of a connection, and passes a `client` made from them."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in _FIELDS}
        kwargs.pop("no_color")
        return function(*args, client=Client(from_environment(os.environ, given)), **kwargs)

    command = click.option("--no-color", is_flag=True, callback=_no_color, help="No colours, on a terminal too.")(
        command
    )
    for (name, metavar, words), field in reversed(list(zip(_CONNECTION_OPTIONS, _FIELDS, strict=True))):
        command = click.option(f"--{name}", field, metavar=metavar, help=words)(command)
    return command


_FIELDS = tuple(name.replace("ca-cert", "cacert").replace("-", "_") for name, _, _ in _CONNECTION_OPTIONS)
assert set(_FIELDS) == set(Connection.__dataclass_fields__)


def _no_color(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Set the variable that rich and output.py follow (https://no-color.org)."""
    if value:
        os.environ["NO_COLOR"] = "1"
    return value


def complete_ids(path: str, *, prefixes: bool = True, **parameters: str) -> Callable[..., list[CompletionItem]]:
    """A click callback that completes the IDs in the list at `path`. It gives up after a second.

    `prefixes`: whether every server's list takes the parameter `prefix`.
    """

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = {name: ctx.params.get(name) for name in _FIELDS}
        try:
            client = Client(from_environment(os.environ, given), timeout=1.0)
            listed = client.get(path, prefix=incomplete if prefixes else "", **parameters)
        except ClientError:  # an error message would end up in the middle of the user's command line
            return []
        return [CompletionItem(item["ID"]) for item in listed if item["ID"].startswith(incomplete)]

    return complete


complete_volume = complete_ids("/v1/volumes", type="csi")


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: adds --json and -t, which exclude each other, and passes the `form` (output.Form) that they ask
    for."""

    @functools.wraps(function)
    def command(*args: Any, as_json: bool, template: str | None, **kwargs: Any) -> Any:
        return function(*args, form=read_form(as_json, template), **kwargs)

    command = click.option(
        "-t", "template", metavar="TEMPLATE", help="Print by a Go template, e.g. '{{.ID}}' (see `volstore volume -h`)."
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")(command)


def read_file(file: str) -> tuple[str, str]:
    """The text of a file, and its name for errors; "-" is stdin. Raises Failed."""
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Failed(f"Failed to read {name}: it is larger than {MAX_FILE_BYTES} bytes")
        return data.decode("utf-8"), name
    except OSError as error:
        raise Failed(f"Failed to read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Failed(f"Failed to read {name}: byte {error.start} is not UTF-8") from None
