"""The registry's state machine, pure: no clock, no randomness, no I/O."""
