"""Texts out of scalars, as Nomad's two decoders make them: through mapstructure, or straight from the source."""

from __future__ import annotations

import math
from decimal import Decimal

from volstore.hcl.tree import Number, Value
from volstore.units import MAX_INT64

_LONGEST_NUMBER = 400
"""Characters of a number; a float's longest plain spelling has 340."""


def decoded(value: Value) -> str | None:
    """What a scalar is in `id`, `parameters` and all else that Nomad decodes first: `0x10` is "16", `true` is "1".

    None for what isn't a scalar. Raises ValueError for a number that Nomad can't hold.
    """
    if isinstance(value, Number):
        return _number(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else None


def written(value: Value) -> str | None:
    """What a scalar is in `segments` and `mount_options`, which Nomad reads as written; None for what isn't one."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def _number(number: Number) -> str:
    if len(number.text) <= _LONGEST_NUMBER:
        if number.is_float:
            exact = float(number.text)
            if math.isfinite(exact):
                plain = format(Decimal(repr(exact)), "f")
                return plain.removesuffix(".0")
        elif -MAX_INT64 - 1 <= (whole := _whole(number.text)) <= MAX_INT64:
            return str(whole)
    raise ValueError("the number is too large; put it in quotes if it is a text")


def _whole(text: str) -> int:
    """Decimal, hexadecimal after 0x, octal after 0, as in Go."""
    digits = text.removeprefix("-")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    return -int(digits, base) if digits != text else int(digits, base)
