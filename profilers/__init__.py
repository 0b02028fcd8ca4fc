"""Measures how fast one architecture is: backends, the latency table, its estimates and how far off they are."""
