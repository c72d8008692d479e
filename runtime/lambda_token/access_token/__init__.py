"""Puts the tenant of a user into access tokens."""
