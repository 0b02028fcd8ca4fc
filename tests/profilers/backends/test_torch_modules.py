"""torch's own ways to run a subject: number formats, and compiled code that computes the same."""

import shutil
import subprocess
import sys

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config

from profilers.backends.registry import open_backend
from profilers.backends.torch_modules import build_module, build_on, compiled
from profilers.subject import Subject
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import ConvSpec
from search_space.walk import block_specs

ARCH = random_arch(search_space("tiny"), 0)
BLOCKS = {spec.kind: Subject.of_block(spec) for spec in block_specs(ARCH)}

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_runs_in_half_precision_from_end_to_end(kind: str) -> None:
    module, inputs = build_on(BLOCKS[kind], "cpu", "bf16")
    with torch.no_grad():
        output = module(*inputs)
    assert output.dtype == torch.bfloat16
    assert output.isfinite().all()


def test_a_network_runs_in_half_precision_from_end_to_end() -> None:
    module, inputs = build_on(Subject.of_network(ARCH), "cpu", "bf16")
    with torch.no_grad():
        assert module(*inputs).dtype == torch.bfloat16


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_a_compiled_block_computes_the_same(kind: str) -> None:
    module, inputs = build_module(BLOCKS[kind])
    with torch.inference_mode():
        torch.testing.assert_close(compiled(module, inputs)(*inputs), module(*inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@needs_compiler
def test_the_ninth_block_of_a_class_is_compiled_too() -> None:
    """By default torch compiles a class's forward eight times and runs the ninth in eager mode, or refuses it."""
    counters.clear()
    for channels in range(4, 13):
        module, inputs = build_module(Subject.of_block(ConvSpec(in_channels=channels, out_channels=4, size=4)))
        assert counters["stats"]["unique_graphs"] == channels - 4
        compiled(module, inputs)
    assert counters["stats"]["unique_graphs"] == 9


@pytest.mark.slow
@needs_compiler
def test_compiling_leaves_torchs_settings_as_they_were() -> None:
    """Left on, the first of them makes every later export in the process warn."""
    before = torch.compiler.config.force_disable_caches, inductor_config.compile_threads
    module, inputs = build_module(BLOCKS["conv"])
    compiled(module, inputs)
    assert (torch.compiler.config.force_disable_caches, inductor_config.compile_threads) == before
    assert before[0] is False


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_float32_on_a_card_is_not_tf32(tmp_path) -> None:
    open_backend("cuda-torch").load(BLOCKS["conv"], tmp_path)
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
@pytest.mark.parametrize(
    ("launch", "exit_code", "message"),
    [
        ("torch.zeros(2, device='cuda')[torch.tensor([5], device='cuda')]", 1, "cannot go on in this process"),
        ("torch.zeros(2**50, device='cuda')", 0, "OutOfMemoryError"),
    ],
)
def test_an_error_that_a_card_does_not_recover_from_ends_the_process(launch: str, exit_code: int, message: str) -> None:
    code = f"""
import torch
from profilers.backends.torch_cuda import _CudaRunner
try:
    _CudaRunner(lambda: {launch}).run(1)
except Exception as error:
    print(type(error).__name__)
    assert _CudaRunner(lambda: torch.zeros(2, device="cuda")).run(1) > 0
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == exit_code, ended.stderr
    assert message in ended.stdout + ended.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
@pytest.mark.parametrize("mode", ["eager", "compiled", "graphs"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_card_runs_a_network_in_every_mode(mode: str, precision: str, tmp_path) -> None:
    backend = open_backend(f"cuda-torch:precision={precision},mode={mode}")
    assert backend.device.precision == precision
    assert mode in backend.device.runtime
    assert backend.load(Subject.of_network(ARCH), tmp_path).run(2) > 0
