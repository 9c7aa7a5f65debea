"""The builder's double as `tensorrt`, on a machine with a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.export.builders import build, find, network, readback
from dlcv.export.builders.build import build_plan
from dlcv.export.builders.options import BuildOptions


@pytest.fixture
def world() -> Any:
    """What the double records, and what it shall do."""
    from builder_double import World

    return World()


@pytest.fixture
def gpu() -> tuple[str, str]:
    """Its name and compute capability; files of tests may have another."""
    return "NVIDIA GeForce RTX 3060", "8.6"


@pytest.fixture
def build_with(world: Any, gpu: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """(release, graph, card, options of the build ...) -> report; with the double as `tensorrt`."""
    from builder_double import make_builder

    monkeypatch.setattr(find, "driver_problem", lambda: "")
    monkeypatch.setattr(find, "cuda_of_driver", lambda: None)
    for module in (build, network, readback):
        monkeypatch.setattr(module, "gpu_name_and_capability", lambda: gpu)

    def built(
        version: str, graph: Path, card: Any, *, progress: Any = None, timing_cache: Any = None, **options: Any
    ) -> Any:
        monkeypatch.setitem(sys.modules, "tensorrt", make_builder(world, "tensorrt", version))
        return build_plan(
            graph, tmp_path / "tiny.plan", card=card, options=BuildOptions(**options), progress=progress, timing_cache=timing_cache
        )  # fmt: skip

    return built
