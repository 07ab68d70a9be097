"""Images unlike the training set (paper, section 4, Tab. 1; C4)."""
