"""bfloat16: only where it is asked for, or fast."""

import torch

from training.precision import autocast, has_fast_bf16


def _product_dtype(precision: str) -> torch.dtype:
    with autocast(torch.device("cpu"), precision):  # type: ignore[arg-type]
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_precisions_do_what_they_say() -> None:
    assert _product_dtype("fp32") == torch.float32
    assert _product_dtype("bf16") == torch.bfloat16
    assert _product_dtype("auto") == (torch.bfloat16 if has_fast_bf16(torch.device("cpu")) else torch.float32)
