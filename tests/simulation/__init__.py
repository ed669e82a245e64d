"""Whole nodes on a simulated clock, network and disk, driven by one seed: the proof that the log keeps its promises."""
