"""The pipeline, resuming, restarts and `Model` on a GPU, through ONNX Runtime's CUDA provider and through a plan."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from infer_runs import infer_into, rows
from PIL import Image

from dlcv.runtime import load
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, MissingPackageError, PlanError
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.restarting import RestartingSession

pytestmark = pytest.mark.gpu
AGREEMENT = MIN_AGREEMENT["segmentation"]["fp32"]
LEFT_MIB = 1024
"""Of the GPU's memory, where it shall be short: enough for a few thousand windows of 64 x 64, and not for `HUGE`."""
HUGE = 16384


def _graph(tiny_onnx: Path, folder: Path) -> Path:
    from dlcv.runtime.sessions.onnxrt import cuda_missing

    if missing := cuda_missing():
        pytest.skip(f"ONNX Runtime cannot use CUDA: {missing}")
    return tiny_onnx


def _plan(tiny_onnx: Path, folder: Path) -> Path:
    from dlcv.export.builders.build import build_plan
    from dlcv.export.builders.options import BuildOptions
    from dlcv.runtime.sessions.cuda import driver_problem

    if problem := driver_problem():
        pytest.skip(f"no plan can run here: {problem}")
    path = folder / "tiny.plan"
    try:
        build_plan(tiny_onnx, path, card=read_card(tiny_onnx), options=BuildOptions(max_batch=4, opt_batch=2))
        open_session(path).close()
    except (MissingPackageError, PlanError) as error:  # TensorRT-RTX's plans leave some GPUs out
        pytest.skip(f"no plan for this machine: {error}")
    return path


@pytest.fixture(scope="module", params=["onnx-cuda", "plan"])
def engine(request: pytest.FixtureRequest, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make = _graph if request.param == "onnx-cuda" else _plan
    return make(tiny_onnx, tmp_path_factory.mktemp("engine"))


def _masks(folder: Path) -> dict[str, Any]:
    return {path.name: np.array(Image.open(path)) for path in sorted(folder.rglob("*.png"))}


def test_a_folder_gives_the_masks_that_a_cpu_gives(engine: Path, tiny_onnx: Path, tile_folder: Path, tmp_path: Path) -> None:  # fmt: skip
    """With a short last batch: six tiles in batches of four."""
    infer_into(tmp_path / "cpu", tiny_onnx)(tile_folder)
    summary = infer_into(tmp_path / "gpu", engine)(tile_folder, device="cuda", batch=4)
    assert (summary.tiles, summary.failed, summary.notices) == (6, 0, [])
    expected, found = _masks(tmp_path / "cpu"), _masks(tmp_path / "gpu")
    assert found.keys() == expected.keys() and len(found) == 6
    assert np.mean([found[name] == mask for name, mask in expected.items()]) >= AGREEMENT


def test_a_run_is_gone_on_with(engine: Path, tile_folder: Path, tmp_path: Path) -> None:
    run = infer_into(tmp_path / "out", engine)
    run(tile_folder / "sub", device="cuda", batch=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    summary = run(tile_folder / "sub", device="cuda", batch=2, resume=True)
    assert (summary.tiles, summary.resumed, len(before)) == (4, 4, 4)
    next(iter(before)).unlink()
    summary = run(tile_folder / "sub", device="cuda", batch=2, resume=True)
    assert (summary.resumed, summary.failed, len(rows(tmp_path / "out"))) == (3, 0, 4)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4


def test_a_session_that_was_opened_anew_says_the_same(engine: Path, tiny_scenes: list[Any]) -> None:
    images = np.stack(tiny_scenes[:4])
    with RestartingSession(open_session(engine, device="cuda"), lambda: open_session(engine, device="cuda")) as session:
        before = session.run(images)["mask"]
        for _ in range(2):
            session.restart(session.generation, EngineError("planted"))
            assert np.mean(session.run(images)["mask"] == before) >= AGREEMENT
        assert len(session.reasons) == 2


def test_one_model_serves_several_threads(engine: Path, tiny_scenes: list[Any]) -> None:
    with load(engine, device="cuda", batch=4) as model:
        alone = [model([image])[0] for image in tiny_scenes]
        with ThreadPoolExecutor(4) as pool:
            for masks in pool.map(lambda _: model(list(tiny_scenes)), range(8)):
                assert np.mean([mask == one for mask, one in zip(masks, alone, strict=True)]) >= AGREEMENT


def test_batches_of_each_size_in_turn_say_the_same(engine: Path, tiny_scenes: list[Any]) -> None:
    """A plan launches a CUDA graph from the second batch of a size on; lanes and sizes alternate."""
    images = np.stack(tiny_scenes[:4])
    with open_session(engine, device="cuda") as session:
        first = session.run(images)["mask"]
        for count in (4, 1, 3, 4, 1, 3, 2, 4, 2, 1) * 2:
            assert np.mean(session.run(images[:count])["mask"] == first[:count]) >= AGREEMENT
        assert session.notices == []


def test_memory_that_runs_out_on_the_gpu_makes_batches_smaller(tiny_onnx: Path, tile_folder: Path, tmp_path: Path) -> None:  # fmt: skip
    engine = _graph(tiny_onnx, tmp_path)
    import torch

    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(1, free - (LEFT_MIB << 20)), dtype=torch.uint8, device="cuda")
    try:
        summary = infer_into(tmp_path / "out", engine)(tile_folder, device="cuda", batch=HUGE)
    finally:
        del held
        torch.cuda.empty_cache()
    assert (summary.tiles, summary.failed) == (6, 0)
    assert any("memory" in line for line in summary.notices), summary.notices
