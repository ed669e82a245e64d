"""`volstore namespace`: list, make and remove the namespaces that volumes are registered in."""

from __future__ import annotations

import click

from volstore.cli.arguments import Group, connected, output_options
from volstore.cli.output import Failed, complain, echo, print_by_template, print_json, read_template, table
from volstore.cli.paging import Paging, list_options
from volstore.client import Client, ClientError, segment


@click.group(cls=Group)
def namespace() -> None:
    """Manage namespaces."""


_NAME = click.argument("name", metavar="NAME")


@namespace.command("list")
@list_options
@output_options
@connected
def list_namespaces(client: Client, paging: Paging, as_json: bool, template: str | None) -> None:
    """List the namespaces that one's token has a right in."""
    parsed = read_template(as_json, template)
    try:
        found = paging.fetch(client, "/v1/namespaces")
    except ClientError as error:
        raise Failed(f"Error retrieving namespaces: {error}") from None
    if as_json:
        print_json(found)
    elif parsed is not None:
        print_by_template(parsed, found)
    elif found:
        table(["Name", "Description"], [[item["Name"], item["Description"]] for item in found])
    else:
        complain("No namespaces found")


@namespace.command()
@_NAME
@click.option("-t", "template", metavar="TEMPLATE", help="Print by a Go template.")
@connected
def inspect(client: Client, name: str, template: str | None) -> None:
    """Print a namespace as JSON."""
    parsed = read_template(False, template)
    try:
        found = client.get(f"/v1/namespace/{segment(name)}")
    except ClientError as error:
        raise Failed(f"Error querying namespace: {error}") from None
    if parsed is not None:
        print_by_template(parsed, found)
    else:
        print_json(found)


@namespace.command()
@click.option("--description", metavar="TEXT", help="What it is for; the old text stays when this is left out.")
@_NAME
@connected
def apply(client: Client, name: str, description: str | None) -> None:
    """Make or change a namespace."""
    try:
        if description is None:
            known = [item for item in client.get("/v1/namespaces") if item["Name"] == name]
            description = known[0]["Description"] if known else ""
        client.put(f"/v1/namespace/{segment(name)}", {"Name": name, "Description": description})
    except ClientError as error:
        raise Failed(f"Error applying namespace: {error}") from None
    echo(f'Successfully applied namespace "{name}"!')


@namespace.command()
@_NAME
@connected
def delete(client: Client, name: str) -> None:
    """Remove a namespace that holds neither volumes nor allocations."""
    try:
        client.delete(f"/v1/namespace/{segment(name)}")
    except ClientError as error:
        raise Failed(f"Error deleting namespace: {error}") from None
    echo(f'Successfully deleted namespace "{name}"!')
