"""The local plane: the deployed templates of a stage, run on one machine."""
