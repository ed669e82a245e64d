"""A chart on the page: drawn twice, for wide screens and paper and for phones, with the key to its colours."""

from __future__ import annotations

from collections.abc import Callable

from volstore.drill.report.markup import Markup, join, tag

_WIDE, _PHONE = 860.0, 350.0
"""In CSS pixels: the text of one drawing that shrinks to a phone could not be read."""


def both(draw: Callable[[float, str], Markup], name: str) -> Markup:
    """`draw` takes a width and a name for its ids; the style sheet shows one of the two."""
    return join(
        tag("div", draw(_WIDE, name), class_="wide"),
        tag("div", draw(_PHONE, f"{name}-phone"), class_="phone"),
    )


def key(*entries: tuple[str, str]) -> Markup:
    """What is drawn how: class of the style sheet, and words."""
    return tag(
        "ul",
        *(tag("li", tag("span", class_=f"swatch {kind}", aria_hidden="true"), text) for kind, text in entries),
        class_="key",
    )
