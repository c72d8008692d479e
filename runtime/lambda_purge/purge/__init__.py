"""Purges the runs that were replaced: their objects in every region, their items at home."""
