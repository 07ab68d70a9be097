"""Cost of encoding and decoding (ICLR version, Tab. 8; C17)."""
