"""A subject as a torch module with example inputs, for the backends that start from torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.blocks import build_block, example_inputs
from search_space.specs import spec_from_key
from search_space.unet import UNet, UNetByPosition, example_network_inputs


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
                arch = arch_from_json(subject.text)
                inputs = example_network_inputs(arch, generator=generator)
                return UNetByPosition(UNet(arch)).eval(), tuple(inputs.values())


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use a single thread, and gives it back the ones it had."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
