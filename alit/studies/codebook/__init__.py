"""Use of the latent codebook (ICLR version, Fig. 22; C16)."""
