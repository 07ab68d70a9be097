"""Does adapting pay? Ways of choosing lengths against the same length for all, at equal cost (A1 to A5)."""
