"""Variants of the training (paper, Tab. 3 and 4, Fig. 10; C12 to C14)."""
