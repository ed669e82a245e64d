"""Tools for the data directory of a stopped member."""
