"""Reconstruction quality at every length (paper, Tab. 1, Fig. 3 right; C1)."""
