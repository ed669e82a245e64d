"""Connections between members: frames, handshakes, TCP and TLS."""
