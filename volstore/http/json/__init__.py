"""JSON and query strings in, JSON out."""
