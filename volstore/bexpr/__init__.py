"""Nomad's filter expressions (go-bexpr): text to syntax tree, tree and the shape of rows to a test of rows. Pure."""

from volstore.bexpr.compiler import Predicate, compile_filter
from volstore.bexpr.errors import EvaluationError, FilterError, SyntaxFault
from volstore.bexpr.parser import parse

__all__ = ["EvaluationError", "FilterError", "Predicate", "SyntaxFault", "compile_filter", "parse"]
