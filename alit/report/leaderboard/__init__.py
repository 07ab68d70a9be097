"""The leaderboard: all tokenizers of a run, and results that others sent in, on the same images."""
