"""`--precision auto`: the race is a real one, a candidate that cannot run is left out, and the fastest that passes is taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dlcv.export.precision.auto import Candidate, _fastest, choose
from dlcv.export.precision.low_precision import AUTO, PrecisionSettings
from dlcv.export.precision.race import MIN_PAIRS, Ran, Ratio, race
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, VerdictError

Export = Callable[..., Any]


def test_a_race_is_in_turn_and_leaves_out_what_does_not_run(tiny_graph: Callable[[str], Path], tmp_path: Path, tiny_scenes: list[Any]) -> None:  # fmt: skip
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny_graph("mask").read_bytes()[:1000])
    engines = {"broken": broken, "a": tiny_graph("mask"), "b": tiny_graph("mask")}
    found = race(engines, "a", tiny_scenes[0], pairs=5)
    assert list(found) == ["broken", "a", "b"]
    assert found["broken"].ratio is None and found["broken"].why_not
    first, second = found["a"].ratio, found["b"].ratio
    assert first is not None and second is not None
    assert (first.median, first.pairs, second.pairs) == (1.0, 5, 5)
    assert second.low <= second.median <= second.high
    assert found["b"].session.startswith(("OpenVINO ", "ONNX Runtime "))
    with pytest.raises(EngineError):
        race({"a": tmp_path / "missing.onnx"}, "a", tiny_scenes[0])


def test_a_slow_model_gets_fewer_rounds(tiny_graph: Callable[[str], Path], tiny_scenes: list[Any]) -> None:
    ratio = race({"a": tiny_graph("mask")}, "a", tiny_scenes[0], seconds=0)["a"].ratio
    assert ratio is not None and ratio.pairs == MIN_PAIRS


def _raced(precision: str, median: float, high: float) -> Candidate:
    return Candidate(precision, None, ran=Ran("x", Ratio(median, median, high, 15, 1.0)))


def test_faster_means_in_most_rounds() -> None:
    fp32 = _raced("fp32", 1, 1)
    assert _fastest({"int8": _raced("int8", 0.5, 0.6), "fp16": _raced("fp16", 0.4, 0.9), "fp32": fp32}) == [
        "fp16",
        "int8",
        "fp32",
    ]
    assert _fastest({"int8": _raced("int8", 0.9, 1.1), "fp32": fp32}) == ["fp32"]
    assert _fastest({"int8": Candidate("int8", None, failed="x"), "fp32": fp32}) == ["fp32"]


def test_of_two_that_are_alike_fast_one_whose_drop_is_shown_is_taken() -> None:
    def let_pass(candidate: Candidate) -> Candidate:
        low: Any = SimpleNamespace(not_shown="accuracy falls", repair=None)
        return replace(candidate, low=low)

    fp32, int8 = _raced("fp32", 1, 1), let_pass(_raced("int8", 0.5, 0.6))
    assert int8.sentence.startswith("int8: passed, drop not shown, 0.50 (")
    assert _fastest({"int8": int8, "fp16": _raced("fp16", 0.55, 0.7), "fp32": fp32}) == ["fp16", "int8", "fp32"]
    assert _fastest({"int8": int8, "fp16": _raced("fp16", 0.65, 0.7), "fp32": fp32}) == ["int8", "fp16", "fp32"]
    assert _fastest({"int8": int8, "fp32": fp32}) == ["int8", "fp32"]


def test_where_nothing_can_be_measured_the_nominal_order_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcv.export.precision import auto

    def made(given: Any, settings: PrecisionSettings, tiles: Any, say: Any) -> Any:
        if settings.precision != "bf16":
            raise VerdictError("no")
        return None

    monkeypatch.setattr(auto, "low_precision", made)
    said: list[str] = []
    nothing: Any = None
    choice = choose(
        nothing, PrecisionSettings(AUTO), nothing, nothing, "a plan runs on a GPU", said.append, "tensorrt-rtx"
    )
    assert choice.precision == "bf16"
    assert said == ["fp16: failed: no", "bf16: passed", "int8: failed: no", "fp32: passed", "taking bf16: by nominal speed (fp16 > bf16 > int8 > fp32), since a plan runs on a GPU"]  # fmt: skip
    assert choice.to_dict()["candidates"]["int8"] == {"passed": False, "reason": "no"}


@pytest.mark.parametrize(
    ("target", "tried", "taken"),
    [
        ("tensorrt-rtx", ["fp16 fp32", "int8 fp32"], ["fp16", "int8", "fp32"]),
        ("tensorrt", ["int8 fp16", "int8 fp32", "fp16 fp32"], ["int8 with fp16", "int8", "fp16", "fp32"]),
    ],
)
def test_each_kind_of_plan_has_its_own_order(monkeypatch: pytest.MonkeyPatch, target: str, tried: list[str], taken: list[str]) -> None:  # fmt: skip
    """TensorRT-RTX moves half as much in fp16 as in int8 (benchmarks/results/modelopt.md); full TensorRT may join int8 and fp16."""
    from dlcv.export.precision import auto

    made: list[str] = []

    def make(given: Any, settings: PrecisionSettings, tiles: Any, say: Any) -> Any:
        settings.check()
        made.append(f"{settings.precision} {settings.rest}")
        assert (tiles is not None) == (settings.precision == "int8")

    monkeypatch.setattr(auto, "low_precision", make)
    nothing: Any = None
    tiles: Any = "tiles"
    never = {"bf16": "8.0 is needed"}
    choice: Any = choose(nothing, PrecisionSettings(AUTO), tiles, nothing, "no GPU", lambda _: None, target, never)
    assert made == tried
    assert choice.candidates["bf16"].sentence == "bf16: failed: 8.0 is needed"
    for precision in taken:
        assert choice.precision == precision
        last, choice = choice, choice.without_it(f"no plan of {precision}")
    assert choice is None
    assert last.candidates[taken[0]].failed == f"no plan of {taken[0]}"


def test_where_the_plan_of_the_choice_fails_the_next_is_taken(
    export: Export, tiny_classifier: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU TensorRT-RTX gets fp16; where that plan is refused, bf16, and nothing of fp16 is left."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    from dlcv.export import export_model, export_plan

    monkeypatch.setattr(export_model, "driver_problem", lambda: "no NVIDIA driver")
    build, refused = export_plan.build_plan, []

    def picky(graph: Path, plan: Path, **options: Any) -> Any:
        if options["card"].precision == "fp16":
            plan.write_bytes(b"vtrt")
            refused.append(plan)
            raise VerdictError("the plan is not what torch is")
        return build(graph, plan, **options)

    monkeypatch.setattr(export_plan, "build_plan", picky)
    result = export(
        "--model", "cnn3", "--checkpoint", tiny_classifier(0), "--precision", "auto", "--builder", "tensorrt-rtx", "--output", tmp_path,
        "--max-drop", 0.1, "--compute-capability", "8.6",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert len(refused) == 1 and not refused[0].exists()
    assert "taking fp16: by nominal speed (fp16 > bf16 > int8 > fp32), since a plan runs on a GPU" in result.stderr
    assert "the plan is not what torch is; taking bf16: the next, since fp16 failed" in result.stderr
    auto = json.loads((tmp_path / "cnn3.json").read_text())["auto"]
    assert (auto["chosen"], auto["candidates"]["fp16"]["passed"]) == ("bf16", False)
    assert read_card(tmp_path / "cnn3.plan").precision == read_card(tmp_path / "cnn3.onnx").precision == "bf16"
    assert read_card(tmp_path / "cnn3.plan").proof.startswith("types of the strongly typed network as parsed: ")


def test_an_export_with_auto(export: Export, tiny_classifier: Callable[[int], Path], tmp_path: Path) -> None:
    """bf16 is refused by ONNX Runtime's CPU provider and left out where OpenVINO does not run it; the card holds what was taken."""
    options = ("--precision", "auto", "--format", "onnx", "--output", tmp_path, "--max-drop", 0.1)
    result = export("--model", "cnn3", "--checkpoint", tiny_classifier(0), *options)
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "cnn3.json").read_text())
    candidates = facts["auto"]["candidates"]
    assert list(candidates) == ["int8", "fp16", "bf16", "fp32"] and all(c["passed"] for c in candidates.values())
    bf16 = candidates["bf16"]
    if bf16["ratio_to_fp32"] is None:
        assert bf16["not_measured"] and "bf16: passed, left out of the race: " in result.stderr
    else:
        assert bf16["session"].startswith("OpenVINO ") and bf16["session"].endswith(", in bf16")
    assert candidates["int8"]["ratio_to_fp32"]["pairs"] >= 15
    card = read_card(tmp_path / "cnn3.onnx")
    assert card.precision == facts["auto"]["chosen"] in candidates
    assert f"taking {card.precision}: " in result.stderr
    assert np.isfinite(candidates["fp16"]["stage"]["agreement"])
