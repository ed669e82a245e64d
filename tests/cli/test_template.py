"""The part of Go's templates that -t understands, and what it says to the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest

from volstore.cli.template import Template, TemplateError

VOLUME = {
    "ID": "v",
    "Schedulable": True,
    "Capacity": 0,
    "Claim": None,
    "Context": {"b": "2", "a": "1"},
    "Tags": ["x", "y"],
    "Node": {"ID": "n", "Empty": {}},
}


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("{{.ID}} {{.Schedulable}} {{.Capacity}}", "v true 0"),
        ("no fields", "no fields"),
        ("{{ .Node.ID }}", "n"),
        ("{{.Claim}}", "<nil>"),
        ("{{.Context}} {{.Tags}}", "map[a:1 b:2] [x y]"),
        ("{{range .Tags}}<{{.}}>{{end}}", "<x><y>"),
        ("{{range .Context}}{{.}},{{end}}", "1,2,"),
        ("{{range .Node.Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .Schedulable}}yes{{else}}no{{end}} {{if .Capacity}}yes{{else}}no{{end}}", "yes no"),
        ("{{if .Claim}}held{{end}}", ""),
        ("{{with .Node}}{{.ID}}{{end}}{{with .Claim}}{{.ID}}{{else}}free{{end}}", "nfree"),
        ("{{len .Tags}} {{len .ID}} {{len .Claim}}", "2 1 0"),
        ('{{.ID}}{{"\\n"}}{{"}}"}}', "v\n}}"),
        ("a {{- .ID -}} b", "avb"),
        ("a{{/* a remark */}}b", "ab"),
    ],
)
def test_a_template_prints_as_gos_does(template: str, printed: str) -> None:
    assert Template(template).render(VOLUME) == printed


def test_a_list_is_ranged_over() -> None:
    assert Template("{{range .}}{{.ID}} {{end}}").render([{"ID": "a"}, {"ID": "b"}]) == "a b "


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.ID", "a {{ is not closed by }}"),
        ("{{if .ID}}x", "{{if …}} has no {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{if .ID}}{{else}}{{else}}{{end}}", "unexpected {{else}}"),
        ("{{.ID | printf}}", "{{.ID | printf}} is not supported; supported are"),
        ("{{$x := .ID}}", "is not supported"),
        ("{{range $k, $v := .Context}}{{end}}", "is not supported"),
        ('{{printf "%s" .ID}}', "is not supported"),
        ("{{}}", "{{}} is not supported"),
        ("{{if}}{{end}}", "{{if}} is not supported"),
        ('{{"\\q"}}', "is not a quoted text"),
    ],
)
def test_a_template_that_is_not_understood_is_refused_before_anything_is_asked(template: str, expected: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(expected)):
        Template(template)


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("{{.Nope}}", VOLUME, ".Nope: there is no field Nope; there are Capacity, "),
        ("{{.ID.X}}", VOLUME, ".ID.X: there is no field X"),
        ("{{.ID}}", [VOLUME], ".ID: this is a list; write {{range .}}{{.ID}} {{end}}"),
        ("{{range .ID}}{{end}}", VOLUME, "{{range .ID}}: it is not a list"),
        ("{{len .Schedulable}}", VOLUME, "len .Schedulable: it has no length"),
    ],
)
def test_a_template_that_does_not_fit_the_answer_says_so(template: str, value: Any, expected: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(expected)):
        Template(template).render(value)
