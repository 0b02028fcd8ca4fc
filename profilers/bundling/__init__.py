"""Carries the blocks of a space to a Mac that has no checkout, and what it measured back into the latency table."""
