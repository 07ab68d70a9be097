"""Pure functions of the sweep table: selection, capacity, curves, complexity and the claims ledger."""
