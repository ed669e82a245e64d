"""The tokens of HCL 1, as hashicorp/hcl v1 scans them; linear in the length of the text."""

from __future__ import annotations

import re
from typing import NamedTuple

from volstore.hcl.tree import HclError, Lines, Place


class Token(NamedTuple):
    """`kind` is the name that Nomad's messages use. `text` is what a string or heredoc means, or the source itself."""

    kind: str
    text: str
    at: int


_BLANKS = re.compile(r"[ \t\r\n]+")
_TOKEN = re.compile(
    r"""[ \t\r\n]*+
    (?: (?P<IDENT>[^\W\d][\w.-]*)
      | "(?P<STRING>[^"\\\n$]*)"
      | (?P<NUMBER>-?0[xX][0-9a-fA-F]+ | (?:-?[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<HEREDOC><<-?\w+\r*\n)
      | (?P<LBRACE>\{) | (?P<RBRACE>\}) | (?P<LBRACK>\[) | (?P<RBRACK>\]) | (?P<ASSIGN>=) | (?P<COMMA>,))""",
    re.VERBOSE,
)
_GLUED = re.compile(r"[\w.]")
_OCTAL = re.compile(r"-?0[0-9]*[89][0-9]*")
_PLAIN = re.compile(r'[^"\\\n$]+')
_BETWEEN_BRACES = re.compile(r"[^{}\\]+")
_BYTES = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\[0-3][0-7]{2})+")
_ONE_BYTE = re.compile(r"\\(?:x(..)|(...))")
_CODE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_HEREDOC_BLANKS = " \t\v\f\r"


class Lexer:
    """Hands out the tokens of a text one by one; after the last one, EOF."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._lines = Lines(self._text)
        self._at = 0

    def place(self, at: int) -> Place:
        return self._lines.place(at)

    def fault(self, at: int, text: str, reference: str) -> HclError:
        return HclError(self.place(at), text, reference)

    def scan(self) -> Token:
        """The next token. Raises HclError."""
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            return self._scan_rare()
        kind = str(found.lastgroup)
        text, at = found[kind], found.start(kind)
        self._at = found.end()
        if kind == "STRING":
            at -= 1
        elif kind == "HEREDOC":
            return self._heredoc(at, text)
        elif kind == "NUMBER":
            self._check_number(text, at)
        elif text in ("true", "false"):
            kind = "BOOL"
        return Token(kind, text, at)

    def _scan_rare(self) -> Token:
        """The next token where it comes after a comment, is the end, or is a string with more than plain text."""
        at = self._skip()
        if at >= len(self._text):
            return Token("EOF", "", at)
        if self._text[at] == '"':
            return self._string(at)
        if at == self._at:
            raise self._illegal(at)
        self._at = at
        return self.scan()

    def _skip(self) -> int:
        """Past blanks and comments."""
        text, at = self._text, self._at
        while True:
            if blanks := _BLANKS.match(text, at):
                at = blanks.end()
            if text[at : at + 1] not in ("#", "/"):
                return at
            if text[at] == "#" or text.startswith("//", at):
                at = text.find("\n", at)
                if at < 0:
                    return len(text)
            elif text.startswith("/*", at):
                end = text.find("*/", at + 2)
                if end < 0:
                    raise self.fault(at, 'a comment that /* begins has no end; write "*/"', "comment not terminated")
                at = end + 2
            else:
                return at

    def _illegal(self, at: int) -> HclError:
        character = self._text[at]
        if self._text.startswith("<<", at):
            return self.fault(
                at, "a heredoc begins with <<WORD and a new line after it", "invalid characters in heredoc anchor"
            )
        shown = repr(character) if character.isprintable() else f"character U+{ord(character):04X}"
        reference = character if character.isprintable() else "an unprintable character"
        hint = {"'": '; strings need double quotes (")', ":": "; write = between a name and its value"}.get(
            character, ""
        )
        return self.fault(at, f"unexpected {shown}{hint}", f"illegal character: {reference}")

    def _check_number(self, number: str, at: int) -> None:
        if _OCTAL.fullmatch(number):
            raise self.fault(
                at,
                f"{number[:32]} begins with 0 and is no octal number; put it in quotes if it is a text",
                "illegal octal number",
            )
        if _GLUED.match(self._text, self._at):
            raise self.fault(
                at, "a value that begins with digits and isn't a number needs quotes", "expected a number's end"
            )

    def _string(self, start: int) -> Token:
        """A string in quotes, with what its escapes mean; `${…}` stays as it is, quotes and new lines within too."""
        text, at, parts = self._text, start + 1, []
        interpolates = False
        while True:
            if plain := _PLAIN.match(text, at):
                parts.append(plain[0])
                at = plain.end()
            character = text[at : at + 1]
            if character == '"':
                self._at = at + 1
                return Token("STRING", "".join(parts), start)
            if character == "\\":
                at = self._escape(start, at, parts)
            elif character != "$":
                raise self._open_string(start, interpolates)
            elif text.startswith("${", at):
                end = self._interpolation_end(start, at + 2)
                parts.append(text[at:end])
                at, interpolates = end, True
            else:
                parts.append("$")
                at += 1

    def _interpolation_end(self, start: int, at: int) -> int:
        text, depth = self._text, 1
        while depth:
            if inner := _BETWEEN_BRACES.match(text, at):
                at = inner.end()
            character = text[at : at + 1]
            if not character:
                raise self._open_string(start, True)
            if character == "\\":
                at = self._escape(start, at, [])
                continue
            depth += 1 if character == "{" else -1
            at += 1
        return at

    def _open_string(self, start: int, interpolates: bool) -> HclError:
        hint = "; a ${ in it goes on until its }, and $${ is no way around" if interpolates else ""
        return self.fault(start, f"a quoted string is not closed on its line{hint}", "literal not terminated")

    def _escape(self, start: int, at: int, parts: list[str]) -> int:
        """Adds what the escape at `at` means to `parts`; the offset after it. A run of bytes is UTF-8, as in Go."""
        if found := _BYTES.match(self._text, at):
            data = bytes(int(one[1], 16) if one[1] else int(one[2], 8) for one in _ONE_BYTE.finditer(found[0]))
            try:
                parts.append(data.decode())
            except UnicodeDecodeError:
                raise self._bad_escape(start, f"the bytes {found[0][:32]} are not UTF-8; write \\u00e9 for é") from None
            return found.end()
        if found := _CODE.match(self._text, at):
            code = int(found[1] or found[2], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise self._bad_escape(start, f"{found[0]} is not a character")
            parts.append(chr(code))
            return found.end()
        marker = self._text[at + 1 : at + 2]
        if marker in _ESCAPES and marker:
            parts.append(_ESCAPES[marker])
            return at + 2
        if marker in ("", "\n"):
            raise self._open_string(start, False)
        if marker in _HEX_DIGITS:
            raise self._bad_escape(start, f"\\{marker} needs {_HEX_DIGITS[marker]} hexadecimal digits after it")
        raise self._bad_escape(start, f'unknown escape "\\{marker}" in a string; a backslash itself is written \\\\')

    def _bad_escape(self, start: int, text: str) -> HclError:
        return self.fault(start, text, "illegal char escape")

    def _heredoc(self, start: int, opening: str) -> Token:
        """The lines up to the one that holds the mark alone.

        The blanks before the closing mark are the last line's of `<<`; `<<-` takes them away from all lines, if all
        have them, and from none otherwise. An empty line has none.
        """
        indented = opening.startswith("<<-")
        mark = opening.lstrip("<-").rstrip("\r\n")
        lines: list[str] = []
        at = self._at
        while at < len(self._text):
            end = self._text.find("\n", at)
            end = len(self._text) if end < 0 else end
            line = self._text[at:end]
            if line.endswith(mark, 0, len(line.rstrip("\r"))) and line.strip(_HEREDOC_BLANKS) == mark:
                self._at = end
                margin = line[: len(line) - len(line.lstrip(_HEREDOC_BLANKS))]
                return Token("HEREDOC", _unindented(lines, margin) if indented else _joined(lines, margin), start)
            lines.append(line)
            at = end + 1
        raise self.fault(
            start, f"the heredoc has no end: its last line must be {mark[:32]} alone", "heredoc not terminated"
        )


def _joined(lines: list[str], margin: str) -> str:
    return "\n".join([*lines, margin])


def _unindented(lines: list[str], margin: str) -> str:
    if all(line.startswith(margin) for line in lines):
        return _joined([line[len(margin) :] for line in lines], "")
    return _joined(lines, "")
