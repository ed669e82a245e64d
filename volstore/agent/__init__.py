"""A running node: connects the replicated log to the registry and its HTTP API."""
