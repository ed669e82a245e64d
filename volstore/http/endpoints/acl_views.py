"""What the API answers of policies and tokens, in Nomad's fields."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, UnsetType

from volstore.core.acl.rights import AREAS, NamedRule
from volstore.core.acl.tables import Access, AclPolicy, AclToken
from volstore.http.endpoints.views import View


class AclPolicyItem(View):
    """A policy in a list."""

    create_index: int
    description: str
    hash: str
    modify_index: int
    name: str


class AclPolicyView(View):
    """A policy as it is read alone: its text, and what was understood of it."""

    create_index: int
    description: str
    hash: str
    modify_index: int
    name: str
    rules: str
    rules_json: dict[str, Any]


class AclTokenView(View, kw_only=True):
    """A token. `SecretID` is in the answer to whoever made it, and nowhere else."""

    accessor_id: str
    create_index: int
    create_time: str
    expiration_time: str | UnsetType = UNSET
    global_: bool
    hash: str
    modify_index: int
    name: str
    policies: list[str] | None
    secret_id: str | UnsetType = UNSET
    type: str


def policy_item(policy: AclPolicy) -> AclPolicyItem:
    return AclPolicyItem(
        create_index=policy.create_index,
        description=policy.description,
        hash=_hash(policy.name, policy.description, policy.text),
        modify_index=policy.modify_index,
        name=policy.name,
    )


def policy_view(policy: AclPolicy) -> AclPolicyView:
    item = policy_item(policy)
    return AclPolicyView(
        create_index=item.create_index,
        description=item.description,
        hash=item.hash,
        modify_index=item.modify_index,
        name=item.name,
        rules=policy.text,
        rules_json=_rules_json(policy),
    )


def token_view(access: Access, token: AclToken, secret: str | None = None) -> AclTokenView:
    """`secret` is for its maker's eyes only."""
    return AclTokenView(
        accessor_id=token.accessor_id,
        create_index=token.create_index,
        create_time=go_time(token.create_time),
        expiration_time=go_time(access.expiration_date(token)) if token.expiration_time else UNSET,
        global_=token.global_,
        hash=_hash(token.name, token.type, *token.policies, "global" if token.global_ else "local"),
        modify_index=token.modify_index,
        name=token.name,
        policies=list(token.policies) or None,
        secret_id=UNSET if secret is None else secret,
        type=token.type,
    )


def _rules_json(policy: AclPolicy) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "HostVolumes": _named(policy.rules.host_volumes),
        "Namespaces": _named(policy.rules.namespaces),
        "Raw": policy.text,
    }
    for area, levels in AREAS.items():
        stated = getattr(policy.rules, area).split()
        granted = [word for word in stated if word not in levels]
        level = {"Policy": next((word for word in stated if word in levels), "")}
        shown[area.capitalize()] = (level | {"Capabilities": granted} if granted else level) if stated else None
    return shown


def _named(rules: tuple[NamedRule, ...]) -> list[dict[str, Any]] | None:
    shown = [
        {"Capabilities": list(rule.capabilities) or None, "Name": rule.name, "Policy": rule.policy} for rule in rules
    ]
    return shown or None


def _hash(*parts: str) -> str:
    """As Nomad makes it, so that its tools see a change where there is one."""
    return base64.b64encode(hashlib.blake2b("".join(parts).encode(), digest_size=32).digest()).decode()


def go_time(nanoseconds: int) -> str:
    """RFC 3339 with as many digits of the second as it has, in UTC."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
