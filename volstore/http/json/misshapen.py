"""A JSON value that isn't of its kind, and where it stands."""

from __future__ import annotations

from volstore.core.errors import shortened


class Misshapen(Exception):
    """A value that is not of its kind; `path` grows from the inside out while the reader unwinds."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.path: tuple[str | int, ...] = ()

    def inside(self, step: str | int) -> Misshapen:
        self.path = (step, *self.path)
        return self

    def __str__(self) -> str:
        place = path_text(self.path)
        return f"{place}: {self.text}" if place else self.text


def path_text(path: tuple[str | int, ...]) -> str:
    """`("Volumes", 0, "ID")` as `Volumes[0].ID`; keys are cut and made printable, as they come from strangers."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + printable(step, 64)
    return text


def printable(text: str, longest: int = 128) -> str:
    """`text` fit for one line of an error: control characters and lone surrogates escaped, cut at `longest`."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in shortened(text, longest)
    )
