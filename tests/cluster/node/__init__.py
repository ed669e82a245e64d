"""Tests of cluster.node."""
