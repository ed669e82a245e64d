"""Tests of cluster.raft."""
