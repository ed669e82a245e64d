"""A driver with faults, and what tests need around it."""
