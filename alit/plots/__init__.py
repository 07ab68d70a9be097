"""Figures of the studies: DataFrame in, Figure out, one family a file; `save` is the only function that writes."""
