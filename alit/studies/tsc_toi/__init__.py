"""Token selection criteria against tasks of interest (paper, Fig. 5, 6, 14, 15; C5 to C7)."""
