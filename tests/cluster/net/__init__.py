"""Tests of cluster.net."""
