"""HTML and SVG that are escaped by construction: text becomes markup here and nowhere else."""

from __future__ import annotations

from html import escape

from volstore.drill.report.wording import readable

_EMPTY = frozenset({"br", "circle", "col", "line", "link", "meta", "path", "rect"})


class Markup(str):
    """Text that is HTML or SVG already."""

    __slots__ = ()


def tag(element: str, /, *children: str, **attributes: object) -> Markup:
    """One element. Children that aren't Markup are escaped, and so is every attribute; None leaves one out.

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
    """The parts one behind the other, escaped where they aren't Markup."""
    return Markup(
        "".join(part if isinstance(part, Markup) else escape(readable(part, "\n\t"), quote=False) for part in parts)
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return readable(str(value))


def number(value: float) -> str:
    """As short as a drawing allows: tenths."""
    return f"{value:.1f}".removesuffix(".0")
