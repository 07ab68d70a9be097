"""Adaptive length image tokenization: encode images into as many tokens as they need, and measure how many that is."""
