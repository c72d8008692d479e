"""What a stage costs, and what videos cost: prices, quantities, and the sum of both."""
