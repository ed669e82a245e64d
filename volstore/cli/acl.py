"""`volstore acl`: bootstrap access control, and manage policies and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from volstore.cli.arguments import Group, connected, output_options
from volstore.cli.files import read_file
from volstore.cli.output import Failed, complain, echo, fields, print_by_template, print_json, read_template, table
from volstore.cli.paging import Paging, list_options
from volstore.client import Client, ClientError, segment


@click.group(cls=Group)
def acl() -> None:
    """Manage access control: policies say what is allowed, tokens have policies.

    The token to ask with is VOLSTORE_TOKEN (or NOMAD_TOKEN, or --token).
    """


@acl.command()
@output_options
@connected
def bootstrap(client: Client, as_json: bool, template: str | None) -> None:
    """Make the first management token. This works once.

    To do it again, write the index that the refusal names into the file acl-bootstrap-reset in the data directory of
    the server that is asked.
    """
    # A token of another cluster, or of before a reset, would be refused; none is needed.
    nobody = Client(replace(client.connection, token=""))
    _show(lambda: nobody.put("/v1/acl/bootstrap", {}), "bootstrapping", as_json, template)


# Policies.


@acl.group(cls=Group)
def policy() -> None:
    """Manage policies."""


_NAME = click.argument("name", metavar="NAME")


@policy.command("list")
@list_options
@output_options
@connected
def list_policies(client: Client, paging: Paging, as_json: bool, template: str | None) -> None:
    """List policies: all of them with a management token, else one's own."""
    parsed = read_template(as_json, template)
    try:
        found = paging.fetch(client, "/v1/acl/policies")
    except ClientError as error:
        raise Failed(f"Error listing ACL policies: {error}") from None
    if as_json:
        print_json(found)
    elif parsed is not None:
        print_by_template(parsed, found)
    elif found:
        table(["Name", "Description"], [[item["Name"], item["Description"]] for item in found])
    else:
        complain("No policies found")


@policy.command("info")
@_NAME
@output_options
@connected
def policy_info(client: Client, name: str, as_json: bool, template: str | None) -> None:
    """Show a policy and its rules."""
    parsed = read_template(as_json, template)
    try:
        found = client.get(f"/v1/acl/policy/{segment(name)}")
    except ClientError as error:
        raise Failed(f"Error fetching info on ACL policy: {error}") from None
    if as_json:
        print_json(found)
        return
    if parsed is not None:
        print_by_template(parsed, found)
        return
    fields(
        [
            ("Name", found["Name"]),
            ("Description", found["Description"]),
            ("CreateIndex", found["CreateIndex"]),
            ("ModifyIndex", found["ModifyIndex"]),
        ]
    )
    echo("\nRules\n")
    for line in found["Rules"].splitlines():
        echo("".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line))


@policy.command("apply")
@click.option("--description", metavar="TEXT", default="", help="What the policy is for.")
@_NAME
@click.argument("file", metavar="FILE")
@connected
def apply_policy(client: Client, name: str, file: str, description: str) -> None:
    """Make or replace policy NAME with the rules in FILE (HCL or JSON; - is stdin)."""
    rules, _ = read_file(file)
    body = {"Name": name, "Description": description, "Rules": rules}
    try:
        client.put(f"/v1/acl/policy/{segment(name)}", body)
    except ClientError as error:
        raise Failed(f"Error writing ACL policy: {error}") from None
    echo(f'Successfully wrote "{name}" ACL policy!')


@policy.command("delete")
@_NAME
@connected
def delete_policy(client: Client, name: str) -> None:
    """Remove a policy. Tokens that have it keep its name, which then grants nothing."""
    try:
        client.delete(f"/v1/acl/policy/{segment(name)}")
    except ClientError as error:
        raise Failed(f"Error deleting ACL policy: {error}") from None
    echo(f"Successfully deleted {name} policy!")


# Tokens.


@acl.group(cls=Group)
def token() -> None:
    """Manage tokens."""


_ACCESSOR = click.argument("accessor_id", metavar="ACCESSOR")
_POLICIES = click.option("--policy", "policies", metavar="NAME", multiple=True, help="A policy; repeat for others.")


@token.command("list")
@list_options
@output_options
@connected
def list_tokens(client: Client, paging: Paging, as_json: bool, template: str | None) -> None:
    """List tokens, without their secrets."""
    parsed = read_template(as_json, template)
    try:
        found = paging.fetch(client, "/v1/acl/tokens")
    except ClientError as error:
        raise Failed(f"Error listing ACL tokens: {error}") from None
    if as_json:
        print_json(found)
    elif parsed is not None:
        print_by_template(parsed, found)
    elif found:
        rows = [[item["Name"], item["Type"], item["Global"], item["AccessorID"]] for item in found]
        table(["Name", "Type", "Global", "Accessor ID"], rows)
    else:
        complain("No tokens found")


@token.command("info")
@_ACCESSOR
@output_options
@connected
def token_info(client: Client, accessor_id: str, as_json: bool, template: str | None) -> None:
    """Show a token, without its secret."""
    _show(lambda: client.get(f"/v1/acl/token/{segment(accessor_id)}"), "fetching token", as_json, template)


@token.command("self")
@output_options
@connected
def token_self(client: Client, as_json: bool, template: str | None) -> None:
    """Show the token that is asked with."""
    _show(lambda: client.get("/v1/acl/token/self"), "fetching self token", as_json, template)


@token.command("create")
@click.option("--name", metavar="TEXT", default="", help="A name for people.")
@click.option("--type", "kind", metavar="TYPE", default="client", help="client (default) or management.")
@_POLICIES
@click.option("--global", "is_global", is_flag=True, help="Kept and shown, for Nomad's sake.")
@click.option("--ttl", metavar="DURATION", default="", help="Expire after this long, as 8h.")
@output_options
@connected
def create_token(
    client: Client,
    name: str,
    kind: str,
    policies: Sequence[str],
    is_global: bool,
    ttl: str,
    as_json: bool,
    template: str | None,
) -> None:
    """Make a token. Its secret is shown now, and never again."""
    body = {"Name": name, "Type": kind, "Policies": list(policies), "Global": is_global, "ExpirationTTL": ttl}
    _show(lambda: client.put("/v1/acl/token", body), "creating token", as_json, template)


@token.command("update")
@_ACCESSOR
@click.option("--name", metavar="TEXT", help="Another name.")
@click.option("--type", "kind", metavar="TYPE", help="client or management.")
@_POLICIES
@output_options
@connected
def update_token(
    client: Client,
    accessor_id: str,
    name: str | None,
    kind: str | None,
    policies: Sequence[str],
    as_json: bool,
    template: str | None,
) -> None:
    """Change what is given of a token; the rest stays. --policy replaces all of its policies."""
    path = f"/v1/acl/token/{segment(accessor_id)}"

    def change() -> Any:
        old = client.get(path)
        body = {
            "AccessorID": old["AccessorID"],
            "Name": old["Name"] if name is None else name,
            "Type": old["Type"] if kind is None else kind,
            "Policies": list(policies) or ([] if kind == "management" else old["Policies"]),
            "Global": old["Global"],
        }
        return client.put(path, body)

    _show(change, "updating token", as_json, template)


@token.command("delete")
@_ACCESSOR
@connected
def delete_token(client: Client, accessor_id: str) -> None:
    """Remove a token; whoever has its secret can do nothing with it from then on."""
    try:
        client.delete(f"/v1/acl/token/{segment(accessor_id)}")
    except ClientError as error:
        raise Failed(f"Error deleting token: {error}") from None
    echo(f"Token {accessor_id} successfully deleted")


def _show(ask: Callable[[], Any], doing: str, as_json: bool, template: str | None) -> None:
    """One token, as `ask` gives it. The template is read first: what can't be printed must not be made."""
    parsed = read_template(as_json, template)
    try:
        found = ask()
    except ClientError as error:
        raise Failed(f"Error {doing}: {error}") from None
    if as_json:
        print_json(found)
    elif parsed is not None:
        print_by_template(parsed, found)
    else:
        fields(_token_fields(found))


def _token_fields(found: dict[str, Any]) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = [("Accessor ID", found["AccessorID"])]
    if found.get("SecretID"):
        shown.append(("Secret ID", found["SecretID"]))
    shown += [
        ("Name", found["Name"]),
        ("Type", found["Type"]),
        ("Global", found["Global"]),
        ("Policies", "n/a" if found["Type"] == "management" else ", ".join(found["Policies"] or [])),
        ("Create Time", found["CreateTime"]),
    ]
    if found.get("ExpirationTime"):
        shown.append(("Expiration Time", found["ExpirationTime"]))
    return [*shown, ("Create Index", found["CreateIndex"]), ("Modify Index", found["ModifyIndex"])]
