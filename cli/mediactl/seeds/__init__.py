"""Tenants, users and videos that are to be there."""
