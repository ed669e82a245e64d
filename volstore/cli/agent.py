"""`volstore agent`: runs a node, configured by flags, variables and a file."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import click

from volstore.agent.config import AgentConfig, ConfigError, load
from volstore.agent.settings import CONFIG_VARIABLE, DEV_DEFAULTS, SETTINGS
from volstore.cli.arguments import SingleDash
from volstore.cli.output import complain


class BadConfiguration(click.ClickException):
    """A configuration error: one line on stderr, exit code 2 as for wrong arguments."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        complain(f"Error: {self.message}")


def _settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: adds a flag for each setting.

    Their values stay text, because the table reads all sources in one way.
    """
    for setting in reversed(SETTINGS):
        default = f"default: {setting.default}"
        help_text = f"{setting.help} [{setting.variable}; {setting.name}; {default}]"
        if setting.switch:
            option = click.option(setting.option, setting.name, is_flag=True, flag_value="true", help=help_text)
        else:
            option = click.option(
                setting.option, setting.name, metavar=setting.metavar, multiple=setting.many, help=help_text
            )
        function = option(function)
    return function


@click.command(cls=SingleDash)
@click.option("--config", "config_file", metavar="FILE", help=f"TOML file with settings. [{CONFIG_VARIABLE}]")
@click.option(
    "--dev",
    is_flag=True,
    help=f"Run one node for experiments, on loopback, with a sample plugin; data in {DEV_DEFAULTS['data_dir']}.",
)
@click.option("--fresh", is_flag=True, help="With --dev: wipe its data first.")
@click.option("--with-node", is_flag=True, help="With --dev, as root: a node agent, a small real plugin, and a volume.")
@_settings
def agent(
    config_file: str | None, dev: bool, fresh: bool, with_node: bool, **flags: str | tuple[str, ...] | None
) -> int:
    """Run a node.

    Each setting is a flag, a variable and a key of the file; the brackets name them. Flags take precedence over
    variables, and variables over the file. An unknown key in the file is an error. A repeated flag is a list in the
    file, and a list with commas in a variable. A flag without a value is true or false there. Durations are written
    like 50ms or 1m30s, sizes like 4MiB.
    """
    # Collect rarely: nothing that the server imports is garbage, and collections take a tenth of the import time.
    gc.set_threshold(50_000, 20, 100)
    from volstore.agent.offline import OfflineError, prepare_dev_directory

    def read() -> tuple[AgentConfig, list[str]]:
        return load(flags, os.environ, hostname=socket.gethostname(), config_file=config_file, dev=dev, fresh=fresh)

    try:
        config, warnings = read()
    except ConfigError as error:
        raise BadConfiguration(str(error)) from None
    if with_node and not config.dev:
        raise BadConfiguration("--with-node is for --dev; elsewhere run volstore node run on each host")
    if with_node and os.geteuid() != 0:
        raise BadConfiguration("--with-node mounts file systems: run it as root, or leave it out for the sample plugin")
    for warning in warnings:
        complain(f"Warning: {warning}")
    if config.dev:
        try:
            prepare_dev_directory(config.data_dir, fresh=config.fresh)
        except OfflineError as error:
            raise BadConfiguration(str(error)) from None
    from volstore.agent.process import run  # here: it imports the whole server

    return run(config, lambda: read()[0], with_node=with_node)
