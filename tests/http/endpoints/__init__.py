"""Tests of http.endpoints."""
