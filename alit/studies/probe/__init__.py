"""Linear probes of frozen features (paper, section 5; C9, C15)."""
