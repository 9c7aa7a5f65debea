"""The graphs that other parts take: a model with fresh weights in fp32, fp16 and int8, with images and what a CPU says of them.

Fresh weights take as long as trained ones. So that they tell classes apart, each class's logits are scaled to deviation 1 and mean 0.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from dlcv.benchmarks.gpu_suite.part import FOLDER, run_part, say
from dlcv.benchmarks.untrained import CLASSES, scene_images, untrained_card
from dlcv.runtime.errors import EngineError

PRECISIONS = ("fp32", "fp16", "int8")
OPSET = 17
"""Of the graphs, so that TensorRT 8.6 reads them as well."""
PLANNED = ("fcn8s", "fcn32s", "deeplabv3-resnet101", "resnet50")
"""Models whose int8 graph is written: ONNX Runtime's CUDA provider has no int8 convolution, so that only plans take one, and only these
have plans."""
SIDES = {"segmentation": 512, "classification": 224}
IMAGES = 4
WIDTH = float(os.environ.get("DLCV_GPU_SUITE_WIDTH", "1"))
"""Of the networks; a dry run on a small machine takes less."""
MODEL: tuple[str, dict[str, Any]] = ("model", {"help": "such as fcn8s"})


def main() -> None:
    """See the module."""
    run_part(
        "graphs",
        _work,
        MODEL,
        ("--width", {"type": float, "default": WIDTH, "help": "of the network; 1 is the model's own"}),
    )


def graph_path(model: str, precision: str) -> Path:
    """Where a graph is kept."""
    return FOLDER / f"{model}-{precision}.onnx"


def reference_path(model: str) -> Path:
    """Where images and the CPU's answers are kept: `images`, uint8 (n, H, W, 3), RGB; `classes`, uint8 (n, H, W) or (n);
    `bound_PRECISION`: the least agreement."""
    return FOLDER / f"{model}.reference.npz"


def precisions_of(model: str) -> tuple[str, ...]:
    """That a model's graphs are written in."""
    return tuple(precision for precision in PRECISIONS if precision != "int8" or model in PLANNED)


def require_graph(model: str, precision: str) -> Path:
    """The path of a graph that is there; raises EngineError where it is not."""
    path = graph_path(model, precision)
    if not path.exists() or not reference_path(model).exists():
        raise EngineError(f"{path} is missing; write it with: python -m dlcv.benchmarks.gpu_suite.graphs {model}")
    return path


def _work(given: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import torch

    from dlcv.runtime.scoring.comparison import MIN_AGREEMENT, bound_precision
    from dlcv.runtime.sessions import open_session
    from dlcv.train.models import create_model
    from dlcv.train.models.registry import model_entry

    task = model_entry(given.model).task
    side = SIDES[task]
    images = scene_images(IMAGES, side)
    card = untrained_card(
        given.model, task, side, width=given.width, head="mask" if task == "segmentation" else "probs",
        versions={"dlcv": "gpu suite"},
    )  # fmt: skip
    torch.manual_seed(0)
    model = create_model(given.model, classes=CLASSES, width=given.width).eval()
    model = _telling_apart(model, card, images)
    for precision in precisions_of(given.model):
        path = graph_path(given.model, precision)
        path.write_bytes(_proto(model, card, precision, images))
        say(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB")
    with open_session(graph_path(given.model, "fp32"), device="cpu", session="onnxruntime") as session:
        answer = session.run(images)[card.head]
    classes = answer if task == "segmentation" else answer.argmax(1).astype(np.uint8)
    as_run = {precision: precision for precision in PRECISIONS} | {"tf32": bound_precision("fp32", "tf32")}
    bounds = {f"bound_{precision}": MIN_AGREEMENT[task][held] for precision, held in as_run.items()}
    np.savez_compressed(reference_path(given.model), images=images, classes=classes, **bounds)  # type: ignore[arg-type]
    found = len(np.unique(classes))
    say(f"on a CPU {given.model} says {found} classes of {IMAGES} images")
    return {"model": given.model, "width": given.width, "side": side, "classes_said": found}


def _telling_apart(model: Any, card: Any, images: Any) -> Any:
    """The model with its logits scaled by class over `images`."""
    import torch
    from torch import nn

    from dlcv.train.preprocess import normalise

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model
            self.register_buffer("scale", torch.ones(1))
            self.register_buffer("shift", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x) * self.scale + self.shift  # type: ignore[no-any-return]

    scaled = Scaled().eval()
    with torch.inference_mode():
        logits = model(normalise(torch.from_numpy(images), card.mean_rgb, card.std_rgb))
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    deviation, mean = logits.std(axes, keepdim=True).clamp(min=1e-12), logits.mean(axes, keepdim=True)
    scaled.scale, scaled.shift = (1 / deviation).clone(), (-mean / deviation).clone()
    return scaled


def _proto(model: Any, card: Any, precision: str, images: Any) -> bytes:
    import onnx

    from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
    from dlcv.export.precision.calibration import int8_from_onnx
    from dlcv.export.precision.cast import network_at

    own = card.changed(precision=precision)
    if precision == "fp32":
        proto = onnx_from_model(model, own, newest_opset=OPSET)
    elif precision == "fp16":
        proto = onnx_from_model(network_at(model, precision, card.input_size_hw), own, newest_opset=OPSET)
    else:  # min-max is the quickest, and no worse for time
        quantised = int8_from_onnx(onnx.load(graph_path(card.model, "fp32")), list(images[:2]), "min-max")
        proto = with_card(quantised, own, newest_opset=OPSET)
    return bytes(proto.SerializeToString())


if __name__ == "__main__":
    main()
