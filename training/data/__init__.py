"""Captioned images to train on: procedural scenes, real handwritten digits, or a folder of one's own."""
