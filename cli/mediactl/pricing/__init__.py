"""What a stage costs, and what videos cost: prices, quantities, and the sum of both."""

EVERYWHERE = "all"
"""Region of a price that is the same everywhere, or of a service without regions."""
