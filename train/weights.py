"""Starting weights from a file: published VGG16 weights or another checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dlcv.runtime.errors import CheckpointError
from dlcv.train.checkpoint import load_archive


def initialise_from(model: nn.Module, path: Path) -> str:
    """Takes over every tensor of `path` whose name and shape the model has.

    Args:
        model: changed in place.
        path: a state dict (`.pth`, torchvision's published VGG16, say), or a checkpoint of dlcv-train.

    Returns:
        A line that says how many tensors were taken and which were not.

    Raises:
        CheckpointError: when the file cannot be read, or nothing in it fits.
    """
    found = _read(path)
    own = model.state_dict()
    taken = {name: tensor for name, tensor in found.items() if name in own and tensor.shape == own[name].shape}
    left = [name for name in found if name not in taken]
    fresh = [name for name in own if name not in taken]
    if not taken:
        raise CheckpointError(
            f"no tensor of {path} fits the model by name and shape; expected names such as {next(iter(own))!r}, got {list(found)[:2]}"
        )
    model.load_state_dict(taken, strict=False)
    text = f"{path}: {len(taken)} of the model's {len(own)} tensors taken"
    if fresh:
        text += f"; fresh: {_some(fresh)}"
    return text + (f"; not taken from the file: {_some(left)}" if left else "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}; expected a .pth with a state dict, or a checkpoint")
    content = load_archive(path, "expected a state dict")
    if isinstance(content, Mapping) and isinstance(content.get("weights"), Mapping):
        content = content["weights"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path} does not hold a state dict (names and tensors); expected a .pth of weights")
    return content
