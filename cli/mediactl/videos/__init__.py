"""Videos: sending and loading files, and what becomes of them."""
