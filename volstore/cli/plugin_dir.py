"""`volstore plugin dir`: runs the small CSI plugin that comes with volstore."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import click

from volstore.cli.arguments import SingleDash
from volstore.cli.output import Failed, complain, echo


@click.command("dir", cls=SingleDash)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    default=Path("/run/volstore/plugins/dir/csi.sock"),
    show_default=True,
    help="The socket that it listens on.",
)
@click.option("--node-id", default=socket.gethostname, show_default="the host's name", help="Its name for this host.")
@click.option("--shared", is_flag=True, help="All hosts see the same DIRECTORY (a network file system).")
def plugin_dir(directory: Path, socket_path: Path, node_id: str, shared: bool) -> None:
    """Run a CSI plugin whose volumes are in DIRECTORY.

    Each directory in it is a volume with a file system, which the plugin bind mounts. Each NAME.img is a block device,
    which it attaches as a loop device. The name is the volume's external ID. Mounting needs root.
    """
    from volstore.plugin_dir.plugin import DirPlugin
    from volstore.plugin_dir.serving import serve

    if os.geteuid() != 0:
        complain("Warning: without root it answers questions about itself, but mounts nothing")
    try:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        socket_path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        plugin = DirPlugin(directory, node_id, shared=shared)
        asyncio.run(serve(plugin.answers(), socket_path, ready=lambda: echo(f"Serving {directory} at {socket_path}")))
    except OSError as error:
        raise Failed(f"Error: {error.filename or socket_path}: {error.strerror or error}") from None
