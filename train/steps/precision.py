"""Mixed precision: the forward pass in bfloat16 or float16 where torch deems it safe, weights and loss in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn, optim

from dlcv.runtime.errors import UsageError, one_line

AMP = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class MixedPrecision:
    """Autocast and, for float16, whose small gradients vanish, the scaling of the loss (Micikevicius et al. 2018).

    Args:
        amp: a key of `AMP`.
        device: where the model is.

    Raises:
        UsageError: when torch cannot train in it on that device.
    """

    def __init__(self, amp: str, device: torch.device) -> None:
        self._dtype, self._device = AMP[amp], device
        if self._dtype is not None:
            _require(amp, self._dtype, device)
        self.scaler = torch.amp.GradScaler(device.type) if amp == "fp16" else None

    def forward(self, model: nn.Module, images: Tensor) -> Any:
        """The model's outputs for normalised images, in float32: a tensor, or one and that of an auxiliary head."""
        if self._dtype is None:
            return model(images)
        with torch.autocast(self._device.type, dtype=self._dtype):
            outputs = model(images)
        return tuple(each.float() for each in outputs) if isinstance(outputs, tuple) else outputs.float()

    def backward(self, loss: Tensor) -> None:
        """Adds a loss's gradients."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: optim.Optimizer) -> None:
        """Makes the gradients true again, so that they can be clipped."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: optim.Optimizer) -> None:
        """The optimizer's step; in float16 left out, with the scale halved, where a gradient has overflowed."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: the scale of the loss."""
        return dict(self.scaler.state_dict()) if self.scaler is not None else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a scale that was saved."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)


def _require(amp: str, dtype: torch.dtype, device: torch.device) -> None:
    """Tries a convolution, forth and back: which types a device can train in depends on it and on torch's build."""
    if device.type == "cuda" and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise UsageError(f"--amp {amp}: this GPU does not compute in bfloat16; use --amp fp16 or off")
    try:
        weight = torch.ones(2, 2, 3, 3, device=device, requires_grad=True)
        with torch.autocast(device.type, dtype=dtype):
            result = nn.functional.conv2d(torch.ones(1, 2, 8, 8, device=device), weight)
        result.float().sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        other = "bf16 or off" if amp == "fp16" else "off"
        raise UsageError(
            one_line(f"--amp {amp}: torch cannot train in it on {device} ({error}); use --amp {other}")
        ) from error
