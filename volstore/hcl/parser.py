"""HCL 1's grammar, as hashicorp/hcl v1 takes it: commas between items, labels, several keys, lists of objects."""

from __future__ import annotations

from volstore.hcl.lexer import Lexer, Token
from volstore.hcl.tree import DEEPEST, HclError, Item, Items, Number, Value

_SHOWN = {
    "EOF": "the end of the file", "IDENT": "a word without quotes", "STRING": "a string", "HEREDOC": "a heredoc",
    "NUMBER": "a number", "BOOL": "true or false", "LBRACE": "'{'", "RBRACE": "'}'", "LBRACK": "'['",
    "RBRACK": "']'", "ASSIGN": "'='", "COMMA": "','",
}  # fmt: skip


def parse(text: str) -> Items:
    """The items of an HCL text, in order. Raises HclError."""
    return _Parser(text).file()


class _Parser:
    def __init__(self, text: str) -> None:
        self._lexer = Lexer(text)
        self._last = self._next = self._lexer.scan()

    def file(self) -> Items:
        return self._items("EOF", 0)

    def _items(self, end: str, depth: int) -> Items:
        """Up to the token `end`, which is taken too. One comma may follow each item."""
        items: list[Item] = []
        while self._next.kind != end:
            items.append(self._item(depth))
            if self._next.kind == "COMMA":
                self._take()
        if end != "EOF":
            self._take()
        return tuple(items)

    def _item(self, depth: int) -> Item:
        first = self._next
        keys: list[str] = []
        while self._next.kind in ("IDENT", "STRING"):
            keys.append(self._take().text)
        place = self._lexer.place(first.at)
        token = self._next
        if not keys:
            if depth and token.kind == "EOF":
                raise self._fault("the file ends too early: a closing } is missing",
                                  "object expected closing RBRACE got: EOF")  # fmt: skip
            raise self._fault(
                f"unexpected {_SHOWN[token.kind]} where a name should be", f"expected: IDENT | STRING got: {token.kind}"
            )
        if token.kind == "LBRACE":
            self._take()
            return Item(tuple(keys), self._object(depth + 1), place)
        reference = f"expected: IDENT | STRING | ASSIGN | LBRACE got: {token.kind}"
        if token.kind != "ASSIGN":
            if token.kind == "EOF":
                raise self._fault("the file ends too early: a name has no value", reference)
            raise self._fault(f"unexpected {_SHOWN[token.kind]} after a name: write name = value", reference)
        if len(keys) > 1:
            raise self._fault("unexpected '=' after a label: a block has none, a value has no label", reference)
        self._take()
        return Item(tuple(keys), self._value(depth + 1), place)

    def _object(self, depth: int) -> Items:
        self._check_depth(depth)
        return self._items("RBRACE", depth)

    def _value(self, depth: int) -> Value:
        assigned = self._last
        token = self._take()
        match token.kind:
            case "STRING" | "HEREDOC":
                return token.text
            case "NUMBER":
                return Number(token.text)
            case "BOOL":
                return token.text == "true"
            case "LBRACE":
                return self._object(depth)
            case "LBRACK":
                return self._list(depth)
            case _:
                raise self._no_value(token, assigned)

    def _no_value(self, token: Token, before: Token) -> HclError:
        """`before` is the token after which a value should have come, mostly on a line above."""
        line = self._lexer.place(before.at)[0]
        reference = f"Unknown token: {token.kind} {token.text[:32]}"
        if token.kind == "EOF":
            text = f"the file ends too early: a value is missing on line {line}"
        elif self._lexer.place(token.at)[0] != line:
            text = f"a value is missing on line {line}"
        elif token.kind == "IDENT" and token.text == "null":
            text = "null is not a value; leave the name out"
        elif token.kind == "IDENT":
            text = "a value here is not a plain string, number or list (strings need quotes)"
        else:
            text = f"unexpected {_SHOWN[token.kind]} where a value should be"
        return self._lexer.fault(token.at, text, reference)

    def _list(self, depth: int) -> list[Value]:
        """Commas stand between values; more of them than needed are taken, as Nomad does."""
        self._check_depth(depth)
        values: list[Value] = []
        while self._next.kind != "RBRACK":
            if self._next.kind == "COMMA":
                self._take()
                continue
            values.append(self._value(depth + 1))
            if self._next.kind not in ("COMMA", "RBRACK"):
                got = self._next.kind
                raise self._fault(
                    f"unexpected {_SHOWN[got]} in a list: a ',' or ']' is missing",
                    f"error parsing list, expected comma or list end, got: {got}",
                )
        self._take()
        return values

    def _check_depth(self, depth: int) -> None:
        if depth > DEEPEST:
            raise self._lexer.fault(
                self._last.at, f"nested too deeply: at most {DEEPEST} levels are taken", "nested too deeply"
            )

    def _take(self) -> Token:
        self._last, self._next = self._next, self._lexer.scan()
        return self._last

    def _fault(self, text: str, reference: str) -> HclError:
        return self._lexer.fault(self._next.at, text, reference)
