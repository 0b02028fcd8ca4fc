"""When bfloat16 is worth it.

A processor with instructions for it trains about 1.6x faster. One without emulates them: on a plain AVX2 machine a step
took 20 times as long, so `auto` has to ask.
"""

from contextlib import AbstractContextManager

import torch

from training.config import Precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """The context in which a model's forward pass (never its backward pass) runs."""
    is_bf16 = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device has matrix instructions for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in _BF16_INSTRUCTIONS)
    return False


_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
