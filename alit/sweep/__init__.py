"""The sweep: every image at every length through every task, once, into one tidy table."""
