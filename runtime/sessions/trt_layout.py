"""What a TensorRT engine takes and returns: names, types and shapes, checked against the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions.base import check_head, head_output
from dlcv.runtime.sessions.trt_layers import INPUT

_DTYPES = {
    "UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
    "HALF": np.float16, "FLOAT": np.float32,
}  # fmt: skip


class Layout:
    """Names, types and shapes of an engine's input and outputs, checked against the card."""

    def __init__(self, engine: Any, trt: Any, card: ModelCard, path: Path) -> None:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if inputs != [INPUT]:
            raise EngineError(
                f"{path} takes {', '.join(inputs) or 'nothing'}, expected one input named {INPUT!r}; "
                "make it with: dlcv-export"
            )
        smallest, _, largest = (tuple(dims) for dims in engine.get_tensor_profile_shape(INPUT, 0))
        self.min_batch, self.max_batch = int(smallest[0]), int(largest[0])
        self.image_shape = tuple(int(side) for side in largest[1:])
        self.image_dtype = dtype_of(engine, trt, INPUT, path)
        window = (*card.input_size_hw, 3)
        if card.size_range is not None and all(
            low <= side <= high for low, side, high in zip(smallest[1:], window, largest[1:])
        ):
            self.image_shape = window  # sizes vary: buffers are as large as the one that is run
        if self.image_shape != (*card.input_size_hw, 3) or self.image_dtype != np.uint8:
            raise EngineError(
                f"{path} takes images as {self.image_dtype} {self.image_shape}, and its card says "
                f"uint8 {(*card.input_size_hw, 3)}; export the model again"
            )
        self.outputs = {
            name: (_shape(engine, name, path, card), dtype_of(engine, trt, name, path))
            for name in names
            if name != INPUT
        }
        check_head({name: (dtype.name, shape) for name, (shape, dtype) in self.outputs.items()}, card, str(path))


def _shape(engine: Any, name: str, path: Path, card: ModelCard) -> tuple[int, ...]:
    """An output's shape without the batch."""
    shape = tuple(int(side) for side in engine.get_tensor_shape(name))[1:]
    wanted = head_output(card)[1]
    if card.size_range is not None and name == card.head and len(shape) == len(wanted):
        shape = tuple(expected if side < 0 else side for side, expected in zip(shape, wanted))
    if any(side < 0 for side in shape):
        raise EngineError(
            f"{path}: its output {name} has the shape {shape}, and only the batch may vary; export the model again"
        )
    return shape


def dtype_of(engine: Any, trt: Any, name: str, path: Path) -> np.dtype[Any]:
    """A tensor's type in numpy.

    Raises:
        EngineError: when numpy has none, such as bfloat16.
    """
    found = engine.get_tensor_dtype(name)
    for label, dtype in _DTYPES.items():
        if getattr(trt.DataType, label, None) == found:
            return np.dtype(dtype)
    raise EngineError(
        f"{path}: its tensor {name} has the type {found}, expected one of {', '.join(_DTYPES)}; export the model again"
    )
