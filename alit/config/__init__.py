"""Frozen, strict settings of every stage; `configs/` holds the complete profiles."""
