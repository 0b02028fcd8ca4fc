"""Scores how good one architecture promises to be, before anybody trains it fully."""
