"""HTML tables that are readable on a phone: wide tables become one card for each row."""

from __future__ import annotations

from collections.abc import Sequence

from volstore.drill.report.markup import Markup, tag


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    figures: Sequence[int] = (),
    long: int | None = None,
    cards: bool,
) -> Markup:
    """A table whose first column names the row.

    `figures` are right-aligned columns, `long` is a column of sentences. `cards`: the table is too wide for a phone.
    """

    def kind(column: int) -> str | None:
        return "figure" if column in figures else "long" if column == long else None

    head = tag("tr", *(tag("th", text, scope="col", class_=kind(n)) for n, text in enumerate(headings)))
    body = [
        tag(
            "tr",
            *(
                tag("th" if n == 0 else "td", cell, scope="row" if n == 0 else None, class_=kind(n), data_label=heading)
                for n, (heading, cell) in enumerate(zip(headings, row, strict=True))
            ),
        )
        for row in rows
    ]
    return tag(
        "div",
        tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body)),
        class_="cards" if cards else "narrow",
    )


def pairs(lines: Sequence[tuple[str, str]]) -> Markup:
    """A list of names and values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in lines), class_="pairs")
