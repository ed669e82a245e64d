"""The command line: `volstore`, with Nomad's words where Nomad has them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from volstore.cli.arguments import HELP_OPTIONS, LazyGroup, SingleDash
from volstore.cli.completion import COMPLETION_VARIABLE, PROGRAM
from volstore.cli.output import CanNotPrint, complain, echo
from volstore.client import ClientError

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
    "completion": "volstore.cli.completion:completion",
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's arguments) and return its exit code.

    click's own `main` isn't used: it prints on an interrupt, and fails where a reader has enough of our output.
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
    except BrokenPipeError:  # whoever read us has enough
        _give_up_output()
        return 0
    except CanNotPrint as error:
        complain(f"Error: {error}")
        _give_up_output()
        return 1
    return result if isinstance(result, int) else 0


def _is_text(argument: str) -> bool:
    """Whether the process got it as UTF-8; Python shows other bytes as surrogates, which nothing else takes."""
    return argument.isascii() or not any("\ud800" <= character <= "\udfff" for character in argument)


def _give_up_output() -> None:
    """What is still buffered must not fail again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
