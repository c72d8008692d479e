"""Purges old runs and deleted videos: their objects in every region, their items at home."""
