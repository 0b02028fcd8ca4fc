"""A subject as a torch module with example inputs, for the backends that start from torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.blocks import build_block, example_inputs
from search_space.specs import spec_from_key
from search_space.unet import UNet


def build_module(subject: Subject) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Builds the block or network with seeded random weights, in evaluation mode, and inputs of batch size 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torch's layers draw their weights from the global generator
        match subject.kind:
            case "block":
                spec = spec_from_key(subject.text)
                return build_block(spec).eval(), example_inputs(spec, generator=generator)
            case "network":
                arch = ArchConfig.from_json(subject.text)
                return _PositionalUNet(arch).eval(), _network_inputs(arch, generator)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use a single thread, and gives it back the ones it had."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


class _PositionalUNet(nn.Module):
    """A UNet that takes positional arguments only: torch's exporter cannot trace past its keyword-only option."""

    def __init__(self, arch: ArchConfig) -> None:
        super().__init__()
        self.unet = UNet(arch)

    def forward(self, *inputs: Tensor) -> Tensor:
        output: Tensor = self.unet(*inputs)  # [1, C, S, S]
        return output


def _network_inputs(arch: ArchConfig, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The arguments of `UNet.forward` in their order, as many as the architecture uses."""
    projection, added = arch.context_projection, arch.added_conditioning
    text_width = projection.in_width if projection else arch.context_width
    inputs = [
        torch.randn(1, arch.in_channels, arch.sample_size, arch.sample_size, generator=generator),
        torch.full((1,), 500.0),
        torch.randn(1, arch.context_length, text_width, generator=generator),
    ]
    if added:
        inputs.append(torch.full((1, added.num_size_ids), 1024.0))
        if added.pooled_text_width:
            inputs.append(torch.randn(1, added.pooled_text_width, generator=generator))
    return tuple(inputs)
