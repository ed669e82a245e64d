"""Tests of http.json."""
