"""What the kernels of a TensorRT-RTX plan compute in: from the list of its build log, which needs no GPU.

TensorRT-RTX prints, with detailed profiling, each kernel of the plan with the types of what it reads and of its constants, and names
the layers of the graph that went into it. The list is that of 1.7; from one in other words nothing is read, and nothing is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from dlcv.export.builders.network_types import TypedLayer
from dlcv.runtime.sessions.executed import Operator

UNKNOWN = "unknown"
_KERNEL = re.compile(
    r"^Name: (.*?), LayerType: (\w+), Inputs: \[(.*?)\], Constants: \[(.*?)\], Outputs: \[.*, Metadata: (.*)$"
)
_TENSOR = re.compile(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)")
_WORDS = {
    "float": "fp32",
    "half": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
    "fp8": "fp8",
    "int4": "int4",
}
_AROUND = ("kgen", "shape_call")
"""Generated kernels: they pad, round and move what the products read, and only seldom are a product themselves."""


@dataclass(frozen=True)
class _Kernel:
    kind: str
    inputs: tuple[str, ...]  # types
    constants: tuple[tuple[int, str], ...]  # how many values, and their type
    layers: str

    def precision(self, weights: int) -> str:
        """Of the product whose weights these may be: the type of the weights where an input is of it too, else that of the inputs.

        Weights alone in a low type are unpacked before the product, which is then in the inputs' type.
        """
        large = [kind for count, kind in self.constants if count >= weights]
        if large and large[0] in self.inputs:
            return large[0]
        return self.inputs[0] if len(set(self.inputs)) == 1 else UNKNOWN


def kernel_operators(log: str, layers: Sequence[TypedLayer]) -> tuple[Operator, ...]:
    """The network's layers with the types that their kernels compute in.

    Args:
        log: of the build; see `KeptLog.kernels`.
        layers: of the network.

    Returns:
        Those whose kernel the log tells.
    """
    kernels = [kernel for line in log.splitlines() if (kernel := _kernel(line)) is not None]
    found = []
    for layer in layers:
        precision = _precision(layer, [kernel for kernel in kernels if layer.mark in kernel.layers])
        if precision != UNKNOWN:
            found.append(Operator(layer.operator.name, layer.operator.kind, precision, layer.operator.multiply_adds))
    return tuple(found)


def _precision(layer: TypedLayer, kernels: Sequence[_Kernel]) -> str:
    """Of the kernels that a layer went into, the one with the product; of several such, all must agree."""
    products = [kernel for kernel in kernels if kernel.kind not in _AROUND]
    products = products or [
        kernel for kernel in kernels if any(count >= layer.weights for count, _ in kernel.constants)
    ]
    precisions = {kernel.precision(layer.weights) for kernel in products}
    return precisions.pop() if len(precisions) == 1 else UNKNOWN


def _kernel(line: str) -> _Kernel | None:
    matched = _KERNEL.match(line)
    if matched is None:
        return None
    _, kind, inputs, constants, layers = matched.groups()
    given = tuple(_WORDS.get(word.lower(), word.lower()) for _, word in _TENSOR.findall(inputs))
    held = (
        (prod(map(int, filter(None, sizes.split(",")))), _WORDS.get(word.lower(), word.lower()))
        for sizes, word in _TENSOR.findall(constants)
    )
    return _Kernel(kind, given, tuple(held), layers)
