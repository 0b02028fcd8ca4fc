"""Turns a finished module into files: ONNX, Core ML, a diffusers-style folder, a model card, each with its parity."""
