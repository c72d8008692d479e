"""What transcoding took and costs, and the budget that stops it."""
