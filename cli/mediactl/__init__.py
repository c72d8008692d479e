"""The tool of those who operate the platform, and of those who develop it."""
