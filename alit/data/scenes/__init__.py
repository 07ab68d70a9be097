"""The generator of embedded scenes: `scene` makes one from a seed, `source` makes image sets of them."""
