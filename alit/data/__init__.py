"""Image sources, embedded scenes, and the sets that later stages read."""
