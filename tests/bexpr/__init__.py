"""Tests of bexpr."""
