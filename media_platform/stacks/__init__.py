"""Stacks: the constructs wired up for a stage."""
