"""The way of a request: listener, protocol, router, rights, pipeline, answer."""
