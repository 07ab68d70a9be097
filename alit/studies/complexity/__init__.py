"""Complexity against loss and selected length (paper, section 4, Fig. 4, 11, 12; C2, C3)."""
