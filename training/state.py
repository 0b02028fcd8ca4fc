"""Everything that moves while training: weights, their running average, the optimiser, the step.

Kept in one place so that a checkpoint can hold all of it and a resumed run goes on bit for bit. Data order, noise and
timesteps are functions of the seed and the step, so there is no other state.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.config import TrainingConfig
from training.distillation import Distiller
from training.model import TextToImage
from training.muon import Muon

_UNDECAYED = ("embeddings", "positions")
_OUTERMOST = ("conv_in", "conv_out")


class TrainingState:
    """The student, its average, the projectors if there are any, and the optimiser over all of them."""

    def __init__(self, model: TextToImage, distiller: Distiller | None, config: TrainingConfig) -> None:
        self.model = model
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.distiller = distiller
        self.ema_decay = config.ema_decay
        self.step = 0
        self.elapsed_s = 0.0
        modules: list[nn.Module] = [model] if distiller is None else [model, distiller]
        named = [pair for module in modules for pair in module.named_parameters()]
        self.parameters = [parameter for _, parameter in named]
        self.optimizers = _optimizers(named, config)

    def update(self, *, learning_rate: float) -> None:
        """One optimiser step with the gradients that stand, then one step of the average."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))  # a short run forgets its beginning faster
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that a checkpoint has to hold."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        if self.distiller is not None:
            tensors |= {f"distiller.{name}": tensor for name, tensor in self.distiller.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{number}.{index}.{name}": tensor for name, tensor in state.items()}
        return tensors

    def load(self, tensors: dict[str, Tensor], *, step: int, elapsed_s: float) -> None:
        """The inverse of `tensors`."""
        self.model.load_state_dict(_below("model.", tensors))
        self.averaged.load_state_dict(_below("averaged.", tensors))
        if self.distiller is not None:
            self.distiller.load_state_dict(_below("distiller.", tensors))
        for number, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Any]] = {}
            for name, tensor in _below(f"optimizer{number}.", tensors).items():
                index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.step, self.elapsed_s = step, elapsed_s


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizers(named: Iterable[tuple[str, nn.Parameter]], config: TrainingConfig) -> list[torch.optim.Optimizer]:
    orthogonalised: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.ndim < 2 or any(part in name for part in _UNDECAYED):
            undecayed.append(parameter)
        elif config.optimizer == "adamw" or any(part in name for part in _OUTERMOST):
            decayed.append(parameter)
        else:
            orthogonalised.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.adam_betas, fused=True)
    if not orthogonalised:
        return [adamw]
    return [adamw, Muon(orthogonalised, lr=config.learning_rate, weight_decay=config.weight_decay)]
