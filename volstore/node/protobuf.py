"""Protobuf's wire format for the messages of `csi`: plain dictionaries in and out.

A `Message` is a table of fields by name. A value is a dict of what is set: absent fields are left out both ways, as
proto3's JSON does. Fields that the table doesn't know are skipped, so newer plugins can be talked to.
Source: protobuf's "Encoding" chapter; the figures 0, 1, 2 and 5 below are its wire types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
"""Bytes of the longest varint: 64 bits in groups of seven."""


class WireError(ValueError):
    """These bytes are not a message of that kind, or that value doesn't fit its field."""


class Scalar:
    """A kind of field that isn't a message."""

    def __init__(self, name: str, wire_type: int) -> None:
        self.name = name
        self.wire_type = wire_type

    def __repr__(self) -> str:
        return self.name


class Enum(Scalar):
    """Names by number. A number without a name is kept as the number."""

    def __init__(self, *names: str) -> None:
        super().__init__("enum", _VARINT)
        self.names = names
        self.numbers = {name: number for number, name in enumerate(names)}


STRING = Scalar("string", _LENGTH)
BOOL = Scalar("bool", _VARINT)
INT = Scalar("int64", _VARINT)
MAP = Scalar("map<string, string>", _LENGTH)


class Many:
    """A repeated field."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind


class Message:
    """A table of fields: `Message(volume_id=(1, STRING), topology=(7, TOPOLOGY))`."""

    wire_type = _LENGTH

    def __init__(self, **fields: tuple[int, Kind | Many]) -> None:
        self.fields = {
            name: (number, kind.kind, True) if isinstance(kind, Many) else (number, kind, False)
            for name, (number, kind) in fields.items()
        }
        self._by_number = {number: (name, kind, many) for name, (number, kind, many) in self.fields.items()}

    def encode(self, value: Mapping[str, Any]) -> bytes:
        """Raises WireError for a field that isn't in the table and a value that doesn't fit."""
        if unknown := value.keys() - self.fields.keys():
            raise WireError(f"no such field: {', '.join(sorted(unknown))}")
        out = bytearray()
        for name, (number, kind, many) in self.fields.items():
            if name in value:
                for item in value[name] if many else (value[name],):
                    try:
                        _put(out, number, kind, item, keep_default=many)
                    except (TypeError, AttributeError, UnicodeEncodeError) as error:
                        raise WireError(f"{name}: {kind} can't be made of {type(item).__name__}") from error
        return bytes(out)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Raises WireError for anything but this message, whole."""
        value: dict[str, Any] = {}
        for number, wire_type, raw in _read(data):
            if number not in self._by_number:
                continue
            name, kind, many = self._by_number[number]
            if many and wire_type == _LENGTH and kind.wire_type == _VARINT:  # packed
                items = value.setdefault(name, [])
                position = 0
                while position < len(raw):
                    item, position = _varint(raw, position)
                    items.append(_scalar(kind, item, name))
                continue
            if wire_type != kind.wire_type:
                raise WireError(f"{name}: wire type {wire_type} instead of {kind.wire_type}")
            if many:
                value.setdefault(name, []).append(_taken(kind, raw, name))
            elif kind is MAP:
                key, text = _entry(raw)
                value.setdefault(name, {})[key] = text
            elif isinstance(kind, Message):  # a message that comes twice is merged
                value[name] = {**value.get(name, {}), **kind.decode(raw)}
            else:
                value[name] = _scalar(kind, raw, name)
        return {name: item for name, item in value.items() if item not in ("", 0, False) or isinstance(item, dict)}

    def __repr__(self) -> str:
        return f"Message({', '.join(self.fields)})"


Kind = Scalar | Message

_ENTRY = Message(key=(1, STRING), value=(2, STRING))


def _entry(raw: bytes) -> tuple[str, str]:
    pair = _ENTRY.decode(raw)
    return pair.get("key", ""), pair.get("value", "")


def _taken(kind: Kind, raw: Any, name: str) -> Any:
    return kind.decode(raw) if isinstance(kind, Message) else _scalar(kind, raw, name)


def _scalar(kind: Kind, raw: Any, name: str) -> Any:
    if kind is STRING:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise WireError(f"{name}: not UTF-8") from None
    if kind is BOOL:
        return raw != 0
    signed = raw - 2**64 if raw >= 2**63 else raw
    if isinstance(kind, Enum):
        return kind.names[signed] if 0 <= signed < len(kind.names) else signed
    return signed


def _put(out: bytearray, number: int, kind: Kind, item: Any, *, keep_default: bool) -> None:
    if kind is MAP:
        for key, text in item.items():
            entry = bytearray()
            _put_bytes(entry, 1, key.encode())
            _put_bytes(entry, 2, text.encode())
            _put_bytes(out, number, entry)
    elif isinstance(kind, Message):
        _put_bytes(out, number, kind.encode(item))
    elif kind is STRING:
        if item or keep_default:
            _put_bytes(out, number, item.encode())
    else:
        if isinstance(kind, Enum) and isinstance(item, str):
            if item not in kind.numbers:
                raise WireError(f"no such value: {item}")
            item = kind.numbers[item]
        if not isinstance(item, int) or not -(2**63) <= item < 2**63:
            raise WireError(f"{item!r} is not a 64-bit integer")
        if item or keep_default:
            _put_varint(out, number << 3 | _VARINT)
            _put_varint(out, int(item) & (2**64 - 1))


def _put_bytes(out: bytearray, number: int, data: bytes | bytearray) -> None:
    _put_varint(out, number << 3 | _LENGTH)
    _put_varint(out, len(data))
    out += data


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _read(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Each field's number, wire type, and its integer or bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise WireError("a field with the number 0")
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield number, wire_type, value
            continue
        if wire_type == _LENGTH:
            length, position = _varint(data, position)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise WireError(f"wire type {wire_type}")
        if length > len(data) - position:
            raise WireError("cut off")
        yield number, wire_type, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        if position >= len(data):
            raise WireError("cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise WireError("an integer of more than 64 bits")
