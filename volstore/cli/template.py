"""The part of Go's templates that people use with `nomad … -t`; everything else is refused.

Supported: `{{.Field}}` and paths of fields (`{{.NodeInfo.ID}}`), `{{.}}`, `{{range .X}}…{{else}}…{{end}}` over lists
and over the values of objects, `{{if .X}}…{{else}}…{{end}}`, `{{with .X}}…{{end}}`, `{{len .X}}`, quoted text
(`{{"\\n"}}`), comments, and `-` beside the braces, which trims white space. Not supported: variables,
pipes and functions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_ACTION = re.compile(
    r"\{\{(?P<left>- )?\s*(?P<text>(?:\"(?:[^\"\\]|\\.)*\"|/\*.*?\*/|[^\"}]|\}(?!\}))*?)\s*(?P<right> -)?\}\}",
    re.DOTALL,
)
_PATH = re.compile(r"\.|(\.[A-Za-z_]\w*)+", re.ASCII)


class TemplateError(ValueError):
    """The template is invalid or not supported; the text says which part and why."""


@dataclass(slots=True)
class _Block:
    """`range`, `if` or `with` over a path, or the whole template (keyword "")."""

    keyword: str
    path: str = "."
    body: list[_Node] = field(default_factory=list)
    otherwise: list[_Node] | None = None

    def current(self) -> list[_Node]:
        return self.body if self.otherwise is None else self.otherwise


@dataclass(frozen=True, slots=True)
class _Path:
    path: str
    length: bool = False


_Node = str | _Path | _Block


class Template:
    """A parsed template. Raises TemplateError for anything that is not supported."""

    def __init__(self, text: str) -> None:
        self._root = _parse(text)

    def render(self, value: Any) -> str:
        """Fill the template with decoded JSON. Raises TemplateError for a missing field."""
        return "".join(_render(self._root.body, value))


def _parse(text: str) -> _Block:
    stack = [_Block("")]
    at, trim = 0, False
    for action in _ACTION.finditer(text):
        literal = text[at : action.start()]
        literal = literal.lstrip() if trim else literal
        literal = literal.rstrip() if action["left"] else literal
        _no_braces(literal)
        stack[-1].current().append(literal)
        _act(action["text"], stack)
        at, trim = action.end(), bool(action["right"])
    _no_braces(text[at:])
    stack[-1].current().append(text[at:].lstrip() if trim else text[at:])
    if len(stack) > 1:
        raise TemplateError(f"{{{{{stack[-1].keyword} …}}}} has no {{{{end}}}}")
    return stack[0]


def _no_braces(literal: str) -> None:
    if "{{" in literal:
        raise TemplateError("a {{ is not closed by }}")


def _act(text: str, stack: list[_Block]) -> None:
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if text.startswith("/*") and text.endswith("*/"):
        return
    if word in ("range", "if", "with") and _PATH.fullmatch(rest):
        block = _Block(word, rest)
        stack[-1].current().append(block)
        stack.append(block)
    elif text in ("else", "end"):
        if len(stack) == 1 or (text == "else" and stack[-1].otherwise is not None):
            raise TemplateError(f"unexpected {{{{{text}}}}}")
        if text == "end":
            stack.pop()
        else:
            stack[-1].otherwise = []
    elif word == "len" and _PATH.fullmatch(rest):
        stack[-1].current().append(_Path(rest, length=True))
    elif _PATH.fullmatch(text):
        stack[-1].current().append(_Path(text))
    elif text.startswith('"') and text.endswith('"') and len(text) > 1:
        stack[-1].current().append(_quoted(text))
    else:
        raise TemplateError(
            f"{{{{{text}}}}} is not supported; supported are {{{{.Field}}}}, range, if, with, else, end, len and "
            "quoted text"
        )


def _quoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise TemplateError(f"{text} is not a quoted text") from None


def _render(nodes: list[_Node], value: Any) -> list[str]:
    out: list[str] = []
    for node in nodes:
        match node:
            case str():
                out.append(node)
            case _Path(path, length):
                found = _look_up(path, value)
                out.append(_length(path, found) if length else _go(found))
            case _Block():
                out.extend(_render_block(node, value))
    return out


def _render_block(block: _Block, value: Any) -> list[str]:
    found = _look_up(block.path, value)
    if not found:  # as in Go, false, 0, "", null and empty values are false
        return _render(block.otherwise or [], value)
    if block.keyword == "if":
        return _render(block.body, value)
    if block.keyword == "with":
        return _render(block.body, found)
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    if not isinstance(found, list):
        raise TemplateError(f"{{{{range {block.path}}}}}: it is not a list")
    return [text for element in found for text in _render(block.body, element)]


def _look_up(path: str, value: Any) -> Any:
    for name in path.split(".")[1:]:
        if not name:
            continue
        if isinstance(value, list):
            raise TemplateError(f"{path}: this is a list; write {{{{range .}}}}{{{{{path}}}}} {{{{end}}}}")
        if not isinstance(value, dict) or name not in value:
            known = f"; there are {', '.join(sorted(value))}" if isinstance(value, dict) and value else ""
            raise TemplateError(f"{path}: there is no field {name}{known}")
        value = value[name]
    return value


def _length(path: str, value: Any) -> str:
    if value is None:
        return "0"
    if not isinstance(value, str | list | dict):
        raise TemplateError(f"len {path}: it has no length")
    return str(len(value.encode()) if isinstance(value, str) else len(value))


def _go(value: Any) -> str:
    """Format a value as Go's fmt does."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case list():
            return f"[{' '.join(_go(element) for element in value)}]"
        case dict():
            return f"map[{' '.join(f'{key}:{_go(value[key])}' for key in sorted(value))}]"
        case _:
            return str(value)
