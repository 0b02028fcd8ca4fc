"""Every kind of block becomes a .pte that computes what torch computes, most of it in XNNPACK."""

from pathlib import Path

import pytest
import torch
from torch import nn

from deploy.to_executorch import Delegation, export_executorch
from search_space.blocks import build_block, example_inputs
from search_space.specs import ConvSpec
from tests.deploy.test_every_block import ONE_OF_EACH, _covering

pytest.importorskip("executorch.exir", reason="needs snapnas[devices]")

pytestmark = pytest.mark.slow  # ExecuTorch's exporter takes ten seconds to import, and one to ten a block


def _outputs(path: Path, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    from executorch.extension.pybindings import _C as runtime

    method = runtime._load_program(str(path)).load_method("forward")
    outputs = []
    for _ in range(2):  # the second run shows whether a program spoils its own inputs or weights
        method.set_inputs(inputs)
        method.execute()
        outputs.append(method.get_outputs()[0])
    return outputs


VARIANTS = [variant for variant in _covering() if not variant.endswith(("linear,cross_attention,mqa", "mhsa"))]
"""Every option but those whose operators the others have as well."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_block_as_pte_agrees_with_torch(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ONE_OF_EACH[variant]
    block, inputs = build_block(spec), example_inputs(spec)
    delegation = export_executorch(block, inputs, tmp_path / "block.pte")
    assert delegation.num_delegated > 0
    if "self_attention" in variant:  # a guard for masked rows would leave a part of the attention to slow kernels
        assert delegation.share > 0.85
    assert block.training  # as it was
    block.eval()
    with torch.no_grad():
        expected = block(*inputs)
    for output in _outputs(tmp_path / "block.pte", inputs):
        torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    assert [tmp_path / "block.pte"] == list(tmp_path.iterdir())


def test_a_convolution_is_delegated_whole(tmp_path: Path) -> None:
    spec = ConvSpec(in_channels=4, out_channels=8, size=8)
    delegation = export_executorch(build_block(spec), example_inputs(spec), tmp_path / "block.pte")
    assert delegation == Delegation(num_delegated=1, num_portable=0)
    assert delegation.share == 1


def test_a_module_that_cannot_be_exported_leaves_no_file(tmp_path: Path) -> None:
    class Unexportable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(Exception, match="data-dependent"):
        export_executorch(Unexportable(), (torch.ones(2),), tmp_path / "module.pte")
    assert not list(tmp_path.iterdir())
