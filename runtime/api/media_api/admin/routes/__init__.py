"""Handlers of the admin service: requests in, answers out, no decisions."""
