"""A recorded-call double of TensorRT and pycuda, as far as dlcv.runtime.sessions uses them.

It keeps CUDA's rules that are easily broken: every call needs the primary context current in its thread, work on a
stream happens no earlier than `synchronize`, device memory is known by address and gone once freed, TensorRT reads the
addresses and the shape that were set before. Its "network" gives `mask = image[..., 0] % 3`, `score`, the float32
mean over a row, `probs`, each channel's share of the brightness, and `logits`, 1 for the mask's class and 0 for the others, of which a
plan returns some. `test_trt_double.py` compares its
signatures with the real bindings. The classes themselves: `cuda_double.py`, `graph_double.py`, `tensorrt_double.py`.
"""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from cuda_double import make_pycuda
from graph_double import LibCuda
from numpy.typing import NDArray
from tensorrt_double import VERSION, make_tensorrt

from dlcv.runtime.card.card import ModelCard

__all__ = [
    "CARD",
    "VERSION",
    "World",
    "images_of",
    "installed",
    "make_pycuda",
    "make_tensorrt",
    "plan_bytes",
    "write_full_plan",
]

T = TypeVar("T")
CARD = ModelCard(
    model="tiny", task="segmentation", classes=("a", "b", "c"), palette=((0, 0, 0), (9, 9, 9), (99, 99, 99)),
    input_size_hw=(4, 6), mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask", max_batch=4,
)  # fmt: skip
"""Of plans whose network is the double's."""


class World:
    """What happened (`calls`: one tuple a call, in order) and what shall fail (`refuse`: names of calls)."""

    cuda: LibCuda

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refuse: set[str] = set()
        self.memory: dict[int, bytearray] = {}
        self.streams: dict[int, Any] = {}
        self.stacks = threading.local()
        self.on_synchronize: Callable[[], Any] = lambda: None
        self.profile = [(1, 4, 6, 3), (2, 4, 6, 3), (4, 4, 6, 3)]
        self.tensors: dict[str, tuple[str, tuple[int, ...]]] = {
            "image": ("UINT8", (-1, 4, 6, 3)), "mask": ("UINT8", (-1, 4, 6)), "score": ("FLOAT", (-1, 4)),
        }  # fmt: skip
        self.cache_blob = b"compiled"
        self.clock_ms, self.compute_ms, self.copy_ms = 0.0, 2.5, 0.0
        self.layers = '{"Layers": ["conv", "relu"]}'
        self.spoil: Callable[[NDArray[np.float32]], None] = lambda logits: None

    def note(self, name: str, *values: Any) -> bool:
        """Records a call; False when it shall fail."""
        self.calls.append((name, *values))
        return name not in self.refuse

    def spoilt(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's logits, in which `spoil` has planted what it likes."""
        self.spoil(logits)
        return logits

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    @property
    def stack(self) -> list[Any]:
        if not hasattr(self.stacks, "value"):
            self.stacks.value = []
        stack: list[Any] = self.stacks.value
        return stack

    def bound(self, kind: type[T], **members: Any) -> type[T]:
        """A class of a double as this world has it: it records here."""
        return type(kind.__name__, (kind,), {"world": self, **members})


def images_of(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise for such a plan: uint8 (count, 4, 6, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *CARD.input_size_hw, 3), dtype=np.uint8)


def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose doubles stand for pycuda and TensorRT-RTX, on a machine with a driver and a GPU; the body of a fixture."""
    from dlcv.runtime.sessions import cuda, cuda_graph

    world = World()
    world.cuda = LibCuda(world)
    package, driver = make_pycuda(world)
    modules = {"pycuda": package, "pycuda.driver": driver, "tensorrt_rtx": make_tensorrt(world)}
    for name, module in (modules | {"tensorrt": None, "tensorrt_lean": None}).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cuda, "driver_problem", lambda: "")
    monkeypatch.setattr(cuda_graph, "load_driver", lambda: world.cuda)
    monkeypatch.setattr(cuda, "gpu_name_and_capability", lambda index=0: ("NVIDIA Double", "8.6"))
    for cached in (cuda._pycuda, cuda._retained):
        cached.cache_clear()
    yield world
    for cached in (cuda._pycuda, cuda._retained):
        cached.cache_clear()


def write_full_plan(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of full TensorRT, which is there."""
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(world, "tensorrt", "10.9.0.34"))
    path = folder / "full.plan"
    path.write_bytes(plan_bytes(CARD.to_json(), magic=b"ftrt", version="10.9.0.34"))
    return path


def plan_bytes(card_json: str, *, magic: bytes = b"vtrt", version: str = VERSION, mask: int = 0b111110) -> bytes:
    """A file with a plan's header and card, and nothing that a real library would run."""
    numbers = bytes(int(part) for part in version.split("."))
    header = magic.ljust(24, b"\0") + numbers + magic + struct.pack("<I", mask)
    return header.ljust(580, b"\0") + b"dlcv1:" + card_json.encode() + b"\x01\x80"
