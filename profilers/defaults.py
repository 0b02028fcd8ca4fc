"""What every command takes when nothing else is said; light to import, so that `--help` comes at once."""

DEFAULT_STORAGE = "sqlite:///workspace/snapnas.db"
"""The workspace's database."""

DEFAULT_DEVICE = "host-onnxruntime"
"""This machine, under ONNX Runtime."""
