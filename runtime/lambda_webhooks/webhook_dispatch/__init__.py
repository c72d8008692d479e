"""Sends domain events to the webhook endpoints of tenants."""
