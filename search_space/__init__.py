"""Says what an architecture is, walks it, counts it and builds it; the bottom layer, torch-free to import."""
