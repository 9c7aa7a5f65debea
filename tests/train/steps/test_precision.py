"""Mixed precision: what is computed in which type, and what a device cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcv.runtime.errors import UsageError
from dlcv.train.steps import precision
from dlcv.train.steps.precision import MixedPrecision

CPU = torch.device("cpu")


class Looks(nn.Module):
    """A convolution that remembers the type of its result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen: torch.dtype | None = None

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result: torch.Tensor = self.conv(images)
        self.seen = result.dtype
        return result, result * 2


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_inside_it_is_narrow_and_outside_float32(amp: str, dtype: torch.dtype) -> None:
    mixed, model = MixedPrecision(amp, CPU), Looks()
    outputs = mixed.forward(model, torch.randn(1, 3, 8, 8))
    assert model.seen is dtype and [each.dtype for each in outputs] == [torch.float32] * 2
    mixed.backward(outputs[0].sum())
    assert model.conv.weight.grad is not None and model.conv.weight.grad.dtype is torch.float32


def test_a_scale_comes_back() -> None:
    mixed, other = MixedPrecision("fp16", CPU), MixedPrecision("fp16", CPU)
    state = mixed.state() | {"scale": 32.0}
    other.restore(state)
    assert other.state() == state and MixedPrecision("bf16", CPU).state() == {}


def test_what_torch_cannot_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise RuntimeError("could not create a primitive\ndescriptor")

    monkeypatch.setattr(precision.nn.functional, "conv2d", refuses)
    with pytest.raises(
        UsageError, match=r"^--amp fp16: torch cannot train in it on cpu \(could not .*use --amp bf16 or off$"
    ):
        MixedPrecision("fp16", CPU)
    MixedPrecision("off", CPU)
