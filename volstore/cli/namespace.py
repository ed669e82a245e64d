"""`volstore namespace`: list, create and remove the namespaces of volumes."""

from __future__ import annotations

import click

from volstore.cli.arguments import Group, connected, output_options
from volstore.cli.output import Form, complain, echo, failing, print_json, read_form, table
from volstore.cli.paging import Paging, list_options
from volstore.client import Client, segment


@click.group(cls=Group)
def namespace() -> None:
    """Manage namespaces."""


_NAME = click.argument("name", metavar="NAME")


@namespace.command("list")
@list_options
@output_options
@connected
def list_namespaces(client: Client, paging: Paging, form: Form) -> None:
    """List the namespaces in which the token has a right."""
    with failing("retrieving namespaces"):
        found = paging.fetch(client, "/v1/namespaces")
    if form.prints(found):
        return
    if found:
        table(["Name", "Description"], [[item["Name"], item["Description"]] for item in found])
    else:
        complain("No namespaces found")


@namespace.command()
@_NAME
@click.option("-t", "template", metavar="TEMPLATE", help="Print by a Go template.")
@connected
def inspect(client: Client, name: str, template: str | None) -> None:
    """Print a namespace as JSON."""
    form = read_form(False, template)
    with failing("querying namespace"):
        found = client.get(f"/v1/namespace/{segment(name)}")
    if not form.prints(found):
        print_json(found)


@namespace.command()
@click.option("--description", metavar="TEXT", help="What it is for. Without this option the old text stays.")
@_NAME
@connected
def apply(client: Client, name: str, description: str | None) -> None:
    """Create or change a namespace."""
    with failing("applying namespace"):
        if description is None:
            known = [item for item in client.get("/v1/namespaces") if item["Name"] == name]
            description = known[0]["Description"] if known else ""
        client.put(f"/v1/namespace/{segment(name)}", {"Name": name, "Description": description})
    echo(f'Successfully applied namespace "{name}"!')


@namespace.command()
@_NAME
@connected
def delete(client: Client, name: str) -> None:
    """Remove a namespace that holds neither volumes nor allocations."""
    with failing("deleting namespace"):
        client.delete(f"/v1/namespace/{segment(name)}")
    echo(f'Successfully deleted namespace "{name}"!')
