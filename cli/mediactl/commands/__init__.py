"""The command groups of ``mediactl``, imported when they are used."""
