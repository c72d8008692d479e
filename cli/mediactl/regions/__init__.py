"""Regions of a stage: which join, leave, are lost and taken over."""
