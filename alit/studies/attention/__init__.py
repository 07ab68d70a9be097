"""Latent attention against segmentation masks (paper, section 5, Tab. 2; C10, C11)."""
