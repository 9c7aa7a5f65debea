"""What stands where the user left it open: by the engine's task and the machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import UsageError
from dlcv.runtime.isolate.wire import START_S
from dlcv.runtime.work.settings import InferSettings, pipeline_settings, refuse_without_probabilities, task_options

GIVEN: dict[str, Any] = {"sources": ("tiles",), "engine": Path("m.onnx"), "output": Path("out")}
SEGMENTATION = ModelCard(
    model="m", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), input_size_hw=(4, 4), fit="pad",
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask",
)  # fmt: skip
CLASSIFICATION = SEGMENTATION.changed(task="classification", palette=(), head="probs", fit="centre-crop", short_side=4)


EXTRAS = ("overlay", "alpha", "overlay_format", "confidence", "polygons", "simplify", "min_area", "areas")


def test_the_options_of_a_task_and_their_defaults() -> None:
    assert task_options(InferSettings.of(**GIVEN), SEGMENTATION) == {
        "fit": "pad", "overlap": 0.25, "blend": True, "bands": None, "name_template": "{path}.png", "tta": "none",
        **dict.fromkeys(EXTRAS),
    }  # fmt: skip
    assert task_options(InferSettings.of(**GIVEN), CLASSIFICATION) == {"format": "csv", "top_k": 5, "tta": "none"}
    assert task_options(InferSettings.of(**GIVEN, overlap=0.0), SEGMENTATION)["overlap"] == 0, (
        "nothing is not left open"
    )


def test_what_belongs_to_an_extra_has_its_default_with_it_alone() -> None:
    values = task_options(
        InferSettings.of(**GIVEN, overlay=True, polygons=True, simplify=2.0, areas=False), SEGMENTATION
    )
    assert {name: values[name] for name in EXTRAS} == {
        "overlay": True, "alpha": 0.4, "overlay_format": "jpg", "confidence": None, "polygons": True, "simplify": 2.0,
        "min_area": 0, "areas": None,
    }  # fmt: skip
    for part, whole in (
        ("alpha", "overlay"),
        ("overlay_format", "overlay"),
        ("simplify", "polygons"),
        ("min_area", "polygons"),
    ):
        name = part.replace("_", "-")
        with pytest.raises(UsageError, match=f"^--{name} says how --{whole} is done; add --{whole}, or leave it out$"):
            task_options(InferSettings.of(**GIVEN, **{part: 0}), SEGMENTATION)
    with pytest.raises(UsageError, match=r"^--overlay, --areas: for segmentation only"):
        task_options(InferSettings.of(**GIVEN, overlay=True, areas=True), CLASSIFICATION)
    assert task_options(InferSettings.of(**GIVEN, overlay=False), CLASSIFICATION)["top_k"] == 5


def test_an_option_of_another_task_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"^--overlap: for segmentation only, and m\.onnx is a classification model; leave it out$"
    ):
        task_options(InferSettings.of(**GIVEN, overlap=0.0), CLASSIFICATION)


def test_windows_are_blended_of_segmentation_alone() -> None:
    refuse_without_probabilities(CLASSIFICATION, Path("m.onnx"), None, "flips")
    with pytest.raises(
        UsageError, match=r"^--blend: for segmentation only, and m\.onnx is a classification model; leave"
    ):
        refuse_without_probabilities(CLASSIFICATION, Path("m.onnx"), True, None)


def test_what_averages_probabilities_wants_them() -> None:
    expected = r"^--blend, --tta flips: needs probabilities, and m\.onnx returns masks; export it with --head probs$"
    with pytest.raises(UsageError, match=expected):
        task_options(InferSettings.of(**GIVEN, blend=True, tta="flips"), SEGMENTATION)
    with pytest.raises(UsageError, match="--tta full turns by 90 degrees, the engine takes 4 x 6; pass --tta flips"):
        task_options(InferSettings.of(**GIVEN, tta="full"), SEGMENTATION.changed(head="probs", input_size_hw=(4, 6)))
    assert task_options(InferSettings.of(**GIVEN, tta="flips"), CLASSIFICATION)["tta"] == "flips"
    assert task_options(InferSettings.of(**GIVEN, bands=(3, 2, 1)), SEGMENTATION)["bands"] == [3, 2, 1], "as JSON"
    assert task_options(InferSettings.of(**GIVEN, blend=False), SEGMENTATION)["blend"] is False


@pytest.mark.parametrize(
    ("card", "device", "max_batch", "given", "batch"),
    [
        (SEGMENTATION, "cpu", None, None, 8),
        (SEGMENTATION.changed(input_size_hw=(224, 224)), "cpu", None, None, 5),
        (SEGMENTATION.changed(input_size_hw=(512, 512)), "cpu", None, None, 1),
        (SEGMENTATION.changed(input_size_hw=(1024, 512)), "cpu", None, None, 1),
        (SEGMENTATION, "cpu", 2, None, 2),
        (CLASSIFICATION, "cpu", None, None, 8),
        (CLASSIFICATION, "cpu", 4, None, 4),
        (CLASSIFICATION, "cpu", None, 3, 3),
        (CLASSIFICATION, "cuda", 4, 3, 3),
    ],
)
def test_the_batch(card: ModelCard, device: str, max_batch: int | None, given: int | None, batch: int) -> None:
    session: Any = SimpleNamespace(card=card, device=device, max_batch=max_batch)
    assert pipeline_settings(InferSettings.of(**GIVEN, batch=given), session).batch == batch


@pytest.mark.parametrize(("tiles", "batch"), [(0, 1), (127, 1), (300, 4), (512, 8), (1_000_000, 8)])
def test_a_run_of_few_tiles_has_a_batch_for_each_core(tiles: int, batch: int) -> None:
    session: Any = SimpleNamespace(card=SEGMENTATION, device="cpu", max_batch=None)
    assert pipeline_settings(InferSettings.of(**GIVEN), session, tiles).batch == batch
    classifier: Any = SimpleNamespace(card=CLASSIFICATION, device="cpu", max_batch=None)
    assert pipeline_settings(InferSettings.of(**GIVEN), classifier, tiles).batch == 8


def test_the_batch_on_a_gpu_is_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = SimpleNamespace(card=SEGMENTATION, device="cuda", max_batch=None)
    monkeypatch.setattr("dlcv.runtime.work.settings.automatic_batch", lambda tried: 16 if tried is session else 0)
    assert pipeline_settings(InferSettings.of(**GIVEN), session).batch == 16


def test_no_patience_is_endless_patience() -> None:
    session: Any = SimpleNamespace(card=SEGMENTATION, device="cpu", max_batch=None)
    settings = pipeline_settings(InferSettings.of(**GIVEN), session)
    assert (settings.tile_timeout_s, settings.session_timeout_s) == (60, 600)
    settings = pipeline_settings(InferSettings.of(**GIVEN, tile_timeout_s=0, session_timeout_s=0), session)
    assert (settings.tile_timeout_s, settings.session_timeout_s) == (None, None)
    for given, expected in ((1, 1 + START_S), (0, None)):
        settings = pipeline_settings(InferSettings.of(**GIVEN, tile_timeout_s=given, isolate=True), session)
        assert settings.tile_timeout_s == expected, (
            "a thread may have to start a process; the tile's time is the process's"
        )
