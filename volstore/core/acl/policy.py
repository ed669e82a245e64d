"""A policy's text, HCL or JSON as Nomad takes them, read into `acl.Rules`; refusals in Nomad's words.

What is known is taken, what isn't is passed over, as Nomad does: its later versions state more than is asked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from volstore.core.acl.rights import (
    AREAS,
    CAPABILITIES,
    DENY,
    HOST_VOLUME_CAPABILITIES,
    HOST_VOLUME_POLICIES,
    NAMESPACE_POLICIES,
    OPERATOR_CAPABILITIES,
    WRITE,
    NamedRule,
    Rules,
)
from volstore.core.errors import shortened
from volstore.hcl import json_form, parser
from volstore.hcl.tree import HclError, Items, Value

LONGEST_RULES = 64 * 1024
"""Bytes of a policy's text; it is kept by every member."""
_SHOWN = 512
_NAME = re.compile(r"[a-zA-Z0-9*-]{1,128}", re.ASCII)


class PolicyError(ValueError):
    """The text is no policy; the message is what Nomad says of it, as far as its parser's words can be had."""


class _Misstated(ValueError):
    """The text can't be read, or states something in a form that no policy has."""


def parse_policy(text: str) -> Rules:
    """The rules that `text` states; empty text states none. Raises PolicyError."""
    if not text:
        return Rules()
    size = len(text.encode(errors="surrogatepass"))
    if size > LONGEST_RULES:
        raise PolicyError(f"Failed to parse ACL Policy: {size} bytes are too long, at most {LONGEST_RULES} are taken")
    try:
        fields = _parse(text)
        areas = {area: _area(area, fields) for area in AREAS}
        granted = _operator_capabilities(fields)
        namespaces = tuple(_named(fields, "namespace"))
        host_volumes = tuple(_named(fields, "host_volume"))
    except _Misstated as error:
        raise PolicyError(f"Failed to parse ACL Policy: {error}") from None
    if not (namespaces or host_volumes or any(stated is not None for stated in areas.values())):
        raise PolicyError(f"Invalid policy: {_cut(text)}")
    namespaces = tuple(_checked(rule, _NAMESPACES) for rule in namespaces)
    host_volumes = tuple(_checked(rule, _HOST_VOLUMES) for rule in host_volumes)
    for area, stated in areas.items():
        alone = area == "operator" and stated == "" and granted
        if stated is not None and stated not in AREAS[area] and not alone:
            raise PolicyError(f"Invalid {area} policy: &acl.{area.capitalize()}Policy{{Policy:{_quoted(stated)}}}")
    for capability in granted:
        if capability not in OPERATOR_CAPABILITIES:
            known = ", ".join(sorted(OPERATOR_CAPABILITIES))
            raise PolicyError(f"Invalid operator capability '{_cut(capability)}', one of: {known}")
    if areas["operator"] not in (DENY, WRITE):  # with these, nothing that is granted besides changes anything
        areas["operator"] = " ".join(word for word in (areas["operator"], *sorted(set(granted))) if word)
    return Rules(namespaces, host_volumes, *(areas[area] or "" for area in AREAS))


def _parse(text: str) -> Items:
    if "\0" in text:
        raise _Misstated("a null character can't be part of a policy")
    try:
        return json_form.parse(text) if json_form.is_json(text) else parser.parse(text)
    except HclError as error:
        place = "At {}:{}: ".format(*error.place) if error.placed else ""
        raise _Misstated(f"{place}{error.reference}") from None


# What Go's struct is called in Nomad's texts, the words for it, and what its policies and capabilities may be.
_Named = tuple[str, str, dict[str, tuple[str, ...]], frozenset[str]]
_NAMESPACES: _Named = ("NamespacePolicy", "namespace", NAMESPACE_POLICIES, CAPABILITIES)
_HOST_VOLUMES: _Named = ("HostVolumePolicy", "host volume", HOST_VOLUME_POLICIES, HOST_VOLUME_CAPABILITIES)


def _checked(rule: NamedRule, kind: _Named) -> NamedRule:
    """The rule with all that its policy stands for."""
    struct, words, policies, capabilities = kind
    if not _NAME.fullmatch(rule.name):
        raise PolicyError(f"Invalid {words} name: {_as_go(struct, rule)}")
    if rule.policy and rule.policy not in policies:
        raise PolicyError(f"Invalid {words} policy: {_as_go(struct, rule)}")
    for capability in rule.capabilities:
        if capability not in capabilities:
            raise PolicyError(f"Invalid {words} capability '{_cut(capability)}': {_as_go(struct, rule)}")
    return NamedRule(rule.name, rule.policy, (*rule.capabilities, *policies.get(rule.policy, ())))


def _named(fields: Items, kind: str) -> Iterable[NamedRule]:
    """Every `kind "name" { … }`, in the order of the text."""
    for field in fields:
        if field.keys[0] != kind:
            continue
        for name, body in _bodies(field.keys[1:], field.value):
            yield NamedRule(name, _text(body, "policy") or "", _texts(body, "capabilities"))


def _bodies(labels: tuple[str, ...], value: Value) -> Iterable[tuple[str, Items]]:
    """The bodies under a key: named by its label, or (as JSON has it) by the names of what it holds."""
    if isinstance(value, list):
        for element in value:
            yield from _bodies(labels, element)
        return
    if not isinstance(value, tuple):
        raise _Misstated("expected an object with a policy or capabilities")
    if labels:
        yield labels[0], value
    elif value and all(isinstance(field.value, tuple | list) and field.keys != ("capabilities",) for field in value):
        for field in value:
            yield from _bodies(field.keys, field.value)
    else:
        yield "", value


def _area(area: str, fields: Items) -> str | None:
    """The policy of `area { policy = "…" }`, None when the area isn't mentioned."""
    stated = [body for field in fields if field.keys[0] == area for body in _bodies((area,), field.value)]
    if len(stated) > 1:
        raise _Misstated(f"{area} is given twice")
    return (_text(stated[0][1], "policy") or "") if stated else None


def _operator_capabilities(fields: Items) -> tuple[str, ...]:
    bodies = [body for field in fields if field.keys[0] == "operator" for body in _bodies(("operator",), field.value)]
    return _texts(bodies[0][1], "capabilities") if bodies else ()


def _text(body: Items, key: str) -> str | None:
    found = [field.value for field in body if field.keys == (key,)]
    if len(found) > 1:
        raise _Misstated(f"{key} is given twice")
    if found and not isinstance(found[0], str):
        raise _Misstated(f"{key}: expected a string")
    return found[0] if found and isinstance(found[0], str) else None


def _texts(body: Items, key: str) -> tuple[str, ...]:
    texts: list[str] = []
    for field in body:
        if field.keys != (key,):
            continue
        for text in field.value if isinstance(field.value, list) else [field.value]:
            if not isinstance(text, str):
                raise _Misstated(f"{key}: expected a list of strings")
            texts.append(text)
    return tuple(texts)


def _as_go(struct: str, rule: NamedRule) -> str:
    """The rule as Go's %#v shows it, which Nomad's texts do."""
    listed = ", ".join(_quoted(capability) for capability in rule.capabilities)
    shown = f"[]string{{{_cut(listed)}}}" if rule.capabilities else "[]string(nil)"
    return f"&acl.{struct}{{Name:{_quoted(rule.name)}, Policy:{_quoted(rule.policy)}, Capabilities:{shown}}}"


def _quoted(text: str) -> str:
    return json.dumps(_cut(text), ensure_ascii=not text.isprintable())


def _cut(text: str) -> str:
    return shortened(text, _SHOWN)
