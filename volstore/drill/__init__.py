"""Failure drills: put a cluster under load, inject faults, measure outages, and check that nothing was lost."""
