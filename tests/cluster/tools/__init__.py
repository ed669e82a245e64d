"""Tests of cluster.tools."""
