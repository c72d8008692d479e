"""Handlers: requests in, answers out, no decisions."""
