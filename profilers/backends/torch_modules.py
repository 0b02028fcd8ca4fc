"""A subject as a torch module with example inputs, for the backends that start from torch, and how torch runs it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.blocks import build_block, example_inputs
from search_space.specs import spec_from_key
from search_space.unet import UNet, UNetByPosition, example_network_inputs

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""torch's number format by the word that device records use."""

Inputs = tuple[Tensor, ...]


def build_module(subject: Subject) -> tuple[nn.Module, Inputs]:
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


def build_on(subject: Subject, device: str, precision: str) -> tuple[nn.Module, Inputs]:
    """The same in a number format of `DTYPES` on one of torch's devices: cpu, cuda, mps."""
    module, inputs = build_module(subject)
    dtype = DTYPES[precision]
    return module.to(device, dtype), tuple(tensor.to(device, dtype) for tensor in inputs)


def compiled(module: nn.Module, inputs: Inputs) -> nn.Module:
    """The module through torch.compile, already compiled for these inputs in inference mode.

    Every subject has its own entries in torch's cache of compiled code: after eight blocks of one class torch would
    otherwise run the ninth in eager mode. Nothing is compiled in helper processes, which would run beside the clock,
    and no cache on disk is read, because those are pickles. Both hold for this compilation only: whatever else the
    process exports or compiles is not told otherwise.
    """
    from torch._inductor import config as inductor_config

    fast: nn.Module = torch.compile(  # type: ignore[call-overload]
        module, fullgraph=True, dynamic=False, isolate_recompiles=True
    )
    without_caches = torch.compiler.config.patch(force_disable_caches=True)  # type: ignore[attr-defined]
    with torch.inference_mode(), warnings.catch_warnings(), without_caches, inductor_config.patch(compile_threads=1):
        warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")  # as it was asked to be
        fast(*inputs)
    return fast


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use a single thread, and gives it back the ones it had."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
