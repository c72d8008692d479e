"""Publishes the events of the outbox, as the table stream shows them."""
