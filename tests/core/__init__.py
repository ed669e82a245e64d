"""Tests of the pure core: rules, state, state machine."""
