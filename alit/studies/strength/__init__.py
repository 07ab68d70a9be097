"""Weak against strong task models (paper, Fig. 7; C8)."""
