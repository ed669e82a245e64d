"""How arguments are read: Nomad's single-dash spelling, commands loaded when used, and the options of every client."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from volstore.client import Client, ClientError, Connection, from_environment

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class SingleDash(click.Command):
    """A command that takes `-json` and `-address=x` for `--json` and `--address=x`, as Nomad's do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        short = {name for option in options for name in option.opts if len(name) == 2}
        switches = {name for option in options if option.is_flag for name in option.opts}
        return super().parse_args(ctx, _double_dashes(args, short, switches))


def _double_dashes(args: list[str], short: set[str], switches: set[str]) -> list[str]:
    """`-word` becomes `--word` unless it is a one-letter option with its value attached; nothing changes after `--`.

    A switch may come with a value, as Go's may: `-force=true` is `--force`, and `-force=false` is nothing.
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
    """A group whose commands live in modules that are imported when one of them is used."""

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
    """A group with its commands beside it."""

    command_class = SingleDash


_CONNECTION_OPTIONS = (
    ("address", "URL", "The server to ask [VOLSTORE_ADDR, NOMAD_ADDR; default http://127.0.0.1:4646]."),
    ("token", "SECRET", "The token to ask with [VOLSTORE_TOKEN, NOMAD_TOKEN]."),
    ("namespace", "NAME", "The namespace to ask in [VOLSTORE_NAMESPACE, NOMAD_NAMESPACE; default: default]."),
    ("region", "NAME", "The region to ask for [VOLSTORE_REGION, NOMAD_REGION; default: the server's]."),
    ("ca-cert", "FILE", "PEM file of the authority to trust, for https [VOLSTORE_CACERT, NOMAD_CACERT]."),
    ("client-cert", "FILE", "PEM file of our certificate [VOLSTORE_CLIENT_CERT, NOMAD_CLIENT_CERT]."),
    ("client-key", "FILE", "PEM file of its key [VOLSTORE_CLIENT_KEY, NOMAD_CLIENT_KEY]."),
    ("tls-server-name", "NAME", "The name in the server's certificate [VOLSTORE_TLS_SERVER_NAME, …]."),
)


def connected(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that say where and as whom to ask, and a `client` made of them."""

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
    """rich and we ourselves look at this variable (https://no-color.org)."""
    if value:
        os.environ["NO_COLOR"] = "1"
    return value


def completion_client(ctx: click.Context) -> Client:
    """A client for completing what is being typed: it gives up after a second."""
    given = {name: ctx.params.get(name) for name in _FIELDS}
    return Client(from_environment(os.environ, given), timeout=1.0)


def complete_volume(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The IDs of volumes that begin as what is typed."""
    try:
        listed = completion_client(ctx).get("/v1/volumes", type="csi", prefix=incomplete)
        return [CompletionItem(item["ID"]) for item in listed]
    except ClientError:  # there is nobody to tell: the shell is in the middle of a word
        return []


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--json and -t, which exclude each other; both come as keyword arguments `as_json` and `template`."""
    function = click.option(
        "-t", "template", metavar="TEMPLATE", help="Print by a Go template, e.g. '{{.ID}}' (see `volstore volume -h`)."
    )(function)
    return click.option("--json", "as_json", is_flag=True, help="Print the API's answer as JSON.")(function)
