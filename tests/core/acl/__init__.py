"""Tests of core.acl."""
