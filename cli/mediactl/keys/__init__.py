"""Keys that sign playback, and their rotation."""
