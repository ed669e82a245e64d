"""Tests of http.server."""
