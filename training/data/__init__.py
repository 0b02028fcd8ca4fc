"""Captioned images behind one interface: procedural scenes, handwritten digits, a folder of pictures."""
