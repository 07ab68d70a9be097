"""Turns studies, claims and training logs into a static site that needs neither server nor network."""
