"""`volstore completion`: the scripts that make shells complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from volstore.cli.arguments import SingleDash
from volstore.cli.output import echo

PROGRAM = "volstore"
COMPLETION_VARIABLE = "_VOLSTORE_COMPLETE"


@click.command(cls=SingleDash, short_help="Print a script for completion in shells.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete volstore's commands and the IDs of volumes.

    \b
    bash:  source <(volstore completion bash)
    zsh:   source <(volstore completion zsh)
    fish:  volstore completion fish | source
    """
    made = get_completion_class(shell)
    assert made is not None  # the three are click's own
    root = ctx.find_root().command
    echo(made(root, {}, PROGRAM, COMPLETION_VARIABLE).source())
