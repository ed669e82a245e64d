"""The command line: `volstore`, with Nomad's words where Nomad has them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from volstore.cli.arguments import HELP_OPTIONS, LazyGroup, SingleDash
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
    "server": "volstore.cli.server:server",
    "status": "volstore.cli.server:status",
    "journal": "volstore.cli.journal:journal",
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

    click.echo(f"volstore v{installed_version('volstore')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's arguments) and return its exit code."""
    try:
        result = volstore.main(
            None if arguments is None else list(arguments), prog_name="volstore", standalone_mode=False
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        command = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"Error: {error.format_message()}{command}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ClientError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Who read us has enough; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0
