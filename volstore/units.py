"""Parses and formats durations and sizes in files, flags and queries (`90s`, `10GiB`)."""

from __future__ import annotations

import re
from decimal import Decimal

_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # micro sign
    "μs": Decimal("1e-6"),  # Greek mu
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)

_SIZE = re.compile(r"([\d,]+\.?[\d,]*|[\d,]*\.[\d,]+)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _BYTES |= {_letter: 1000**_power, f"{_letter}b": 1000**_power}
    _BYTES |= {f"{_letter}i": 1024**_power, f"{_letter}ib": 1024**_power}

MAX_INT64 = 2**63 - 1
_MAX_SECONDS = Decimal(MAX_INT64) / 10**9


def parse_duration(text: str) -> float:
    """The seconds of a duration in Go's notation (`90s`, `1m30s`, `500ms`; only `0` needs no unit).

    Raises ValueError for anything else: a negative one, a number without a unit, more than Go's range (292 years).
    """
    if text == "0":
        return 0.0
    if len(text) > 100 or not _DURATION.fullmatch(text):
        raise ValueError(f'{text[:100]!r} is not a duration; write one like "90s", "1m30s" or "500ms"')
    seconds = sum((Decimal(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text)), Decimal(0))
    if seconds > _MAX_SECONDS:
        raise ValueError(f"{text!r} is too long for a duration: at most {int(_MAX_SECONDS // 3600)}h")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest notation that `parse_duration` reads back as `seconds` (`0.05` → `50ms`)."""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    number, unit = (seconds * 1000, "ms") if seconds < 1 else (seconds, "s")
    return f"{number:.6f}".rstrip("0").rstrip(".") + unit


def parse_size(text: str) -> int:
    """The bytes of a size: `10GiB` = 10·1024³, `20G` = `20GB` = 20·1000³, in upper or lower case, or without a unit.

    These are Nomad's rules for `capacity_min`; commas between digits are ignored. Raises ValueError for anything else,
    and for more than 2⁶³-1 bytes.
    """
    found = _SIZE.fullmatch(text.strip()) if len(text) <= 100 else None
    factor = _BYTES.get(found[2].lower()) if found else None
    digits = found[1].replace(",", "") if found else ""
    if found is None or factor is None or not digits.strip("."):
        raise ValueError(f'{text[:100]!r} is not a size; write one like "10GiB", "500MB" or 1048576')
    size = int(Decimal(digits) * factor)
    if size > MAX_INT64:
        raise ValueError(f"{text!r} is too large for a size: at most {MAX_INT64} bytes")
    return size
