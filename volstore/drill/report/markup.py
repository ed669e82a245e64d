"""HTML and SVG with escaping by construction: only this file turns text into markup."""

from __future__ import annotations

from html import escape

from volstore.text import printable

_EMPTY = frozenset({"br", "circle", "col", "line", "link", "meta", "path", "rect"})


class Markup(str):
    """A string of valid HTML or SVG."""

    __slots__ = ()


def tag(element: str, /, *children: str, **attributes: object) -> Markup:
    """One element. It escapes attributes, and children that aren't Markup. An attribute of None is omitted.

    `class_` is `class`; an underscore within a name is a hyphen (`stroke_width`); numbers are cut to 1/10.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _EMPTY and not children:
        return Markup(f"<{element}{written}/>")
    return Markup(f"<{element}{written}>{join(*children)}</{element}>")


def join(*parts: str) -> Markup:
    """Concatenate parts, and escape those that aren't Markup."""
    return Markup(
        "".join(part if isinstance(part, Markup) else escape(printable(part, "\n\t"), quote=False) for part in parts)
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return printable(str(value))


def number(value: float) -> str:
    """A number rounded to tenths, which is exact enough for drawings."""
    return f"{value:.1f}".removesuffix(".0")
