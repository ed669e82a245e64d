"""A running server: wires the replicated log to the registry and its HTTP API."""
