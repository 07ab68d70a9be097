"""The generator of embedded scenes: `scene` makes one from a seed, and image sets of many."""
