"""Failure rehearsals: a load, something broken on purpose, what users felt, and the proof that nothing was lost."""
