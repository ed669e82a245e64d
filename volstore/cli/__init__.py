"""The command line `volstore`. Commands that Nomad has too are called as Nomad calls them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class, shell_complete

from volstore.cli.arguments import HELP_OPTIONS, LazyGroup, SingleDash
from volstore.cli.output import CanNotPrint, complain, echo
from volstore.client import ClientError

PROGRAM = "volstore"
COMPLETION_VARIABLE = "_VOLSTORE_COMPLETE"

_EPILOG = """\
\b
Exit codes: 0 done, 1 refused, not found or failed, 2 wrong arguments or
configuration, 130 interrupted.
"""

_COMMANDS = {
    "agent": "volstore.cli.agent:agent",
    "volume": "volstore.cli.volume:volume",
    "plugin": "volstore.cli.plugin:plugin",
    "node": "volstore.cli.node:node",
    "mount": "volstore.cli.mount:mount",
    "unmount": "volstore.cli.mount:unmount",
    "mounts": "volstore.cli.mount:mounts",
    "server": "volstore.cli.server:server",
    "status": "volstore.cli.server:status",
    "namespace": "volstore.cli.namespace:namespace",
    "acl": "volstore.cli.acl:acl",
    "operator": "volstore.cli.operator:operator",
    "drill": "volstore.cli.drill:drill",
    "init": "volstore.cli.init:init",
    "journal": "volstore.cli.journal:journal",
    "tls": "volstore.cli.tls:tls",
    "keys": "volstore.cli.keys:keys",
    "completion": "volstore.cli:completion",
    "version": "volstore.cli:version",
}


@click.group(cls=LazyGroup, modules=_COMMANDS, context_settings=HELP_OPTIONS, epilog=_EPILOG)
def volstore() -> None:
    """A highly available registry of storage volumes that speaks Nomad's Volumes API."""


@click.command(cls=SingleDash)
def version() -> None:
    """Print volstore's version."""
    from importlib.metadata import version as installed_version

    echo(f"volstore v{installed_version('volstore')}")


@click.command(cls=SingleDash, short_help="Print a script for completion in shells.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes a shell complete volstore's commands and the IDs of volumes.

    \b
    bash:  source <(volstore completion bash)
    zsh:   source <(volstore completion zsh)
    fish:  volstore completion fish | source
    """
    found = get_completion_class(shell)
    assert found is not None  # click has a class for each choice
    echo(found(ctx.find_root().command, {}, PROGRAM, COMPLETION_VARIABLE).source())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's arguments) and return its exit code.

    We don't use click's own `main`: it prints on an interrupt, and fails when a pipe is closed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(volstore, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    for argument in given:
        if not _is_text(argument):
            complain(f"Error: the argument {argument!a} is not UTF-8")
            return 2
    try:
        with volstore.make_context(PROGRAM, given) as context:
            result = volstore.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        command = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        complain(f"Error: {error.format_message()}{command}")
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ClientError as error:
        complain(f"Error: {error}")
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # the reader closed the pipe
        _give_up_output()
        return 0
    except CanNotPrint as error:
        complain(f"Error: {error}")
        _give_up_output()
        return 1
    return result if isinstance(result, int) else 0


def _is_text(argument: str) -> bool:
    """Whether the argument was valid UTF-8. Python turns other bytes into surrogates, which can't be encoded."""
    return argument.isascii() or not any("\ud800" <= character <= "\udfff" for character in argument)


def _give_up_output() -> None:
    """Discard buffered output, so that flushing it at exit doesn't fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
