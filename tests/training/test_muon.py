"""Muon: orthogonal updates of a known size."""

import pytest
import torch

from training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 16)])
def test_orthogonalising_brings_every_singular_value_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_the_size_of_the_gradient_does_not_matter() -> None:
    matrix = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(orthogonalised(matrix), orthogonalised(1000 * matrix), atol=1e-4)


def test_a_kernel_falls_to_the_minimum_of_a_bowl() -> None:
    target = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel = torch.nn.Parameter(torch.zeros(4, 3, 3, 3))
    optimizer = Muon([kernel], lr=0.1, weight_decay=0.0)
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / 100)
        optimizer.zero_grad()
        (kernel - target).square().sum().backward()
        optimizer.step()
    assert (kernel - target).abs().mean() < 0.05
