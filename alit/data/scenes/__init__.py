"""Embedded scenes: small pictures with label, masks, depth and caption, generated from a seed."""
