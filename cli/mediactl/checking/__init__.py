"""Whether an environment works: what could keep it from that, and the main job tried on it."""
