"""What Core ML leaves to choose, by the names that people type."""

from typing import Literal

Units = Literal["all", "cpu_only", "cpu_and_gpu", "cpu_and_ne"]
"""What may run a model: every unit, the CPU alone, or with the GPU or the Neural Engine beside it."""

Layout = Literal["plain", "split_einsum"]
"""How transformers are laid out; the Neural Engine prefers split_einsum."""
