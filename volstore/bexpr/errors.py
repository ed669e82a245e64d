"""What can be wrong with a filter: its text, or what it asks of a row."""

from __future__ import annotations


class FilterError(Exception):
    """Base of both; its text is go-bexpr's."""


class SyntaxFault(FilterError):
    """The text is no expression. `line:column (byte): …`, one line for each fault."""


class EvaluationError(FilterError):
    """The expression can't be answered for a row: an unknown field, an operator that the field's type hasn't got."""
