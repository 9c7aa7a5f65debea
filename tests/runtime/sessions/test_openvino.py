"""OpenVINO's own: what it is asked for, what it says it runs, and what is told where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, MissingPackageError, PrecisionError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions import openvino as ours
from dlcv.runtime.sessions.wanted import Wanted

openvino = pytest.importorskip("openvino", reason="the extra `openvino` is not installed")


def wanted(path: Path, **options: Any) -> Wanted:
    return Wanted(path, "onnx", read_card(path), **options)


@pytest.fixture
def fresh() -> Iterator[None]:
    """The import is tried anew, before and after."""
    ours._openvino.cache_clear()
    yield
    ours._openvino.cache_clear()


def test_float32_stays_float32_and_streams_share_the_cores(tiny_onnx: Path) -> None:
    with ours.open_openvino(wanted(tiny_onnx, lanes=2)) as session:
        (compiled,) = session._compiled
        assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
        assert compiled.get_property("NUM_STREAMS") == min(2, cpu_count())
        assert compiled.get_property("INFERENCE_NUM_THREADS") == cpu_count()
        assert session.parallel == 3, "one more, so that no stream waits for a thread to wake"
        ran = session.executed()
        assert ran is not None and set(ran.multiply_adds) == {"fp32"}
    assert session.executed() is None


def test_several_batches_are_in_flight(tiny_onnx: Path) -> None:
    with ours.open_openvino(wanted(tiny_onnx, lanes=2)) as session:
        inside, barrier = session._free, threading.Barrier(2, timeout=10)

        class Meeting:
            """A request that waits for the other one."""

            def __init__(self, request: Any) -> None:
                self.request = request

            def infer(self, *arguments: Any, **options: Any) -> Any:
                barrier.wait()
                return self.request.infer(*arguments, **options)

        for meeting in [Meeting(inside.get()) for _ in range(session.parallel)]:
            inside.put(meeting)
        images = np.zeros((1, *session.card.input_size_hw, 3), np.uint8)
        threads = [threading.Thread(target=session.run, args=(images,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not barrier.broken, "one batch waited for the other to end"


@pytest.mark.parametrize("compute", ["bf16", "fp16"])
def test_a_cpu_that_lacks_the_precision_is_named(
    tiny_onnx: Path, compute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "cpu_abilities", lambda: ("FP32", "INT8"))
    monkeypatch.setattr(ours, "cpu_name", lambda: "Old CPU")
    with pytest.raises(PrecisionError, match=rf"^{compute} needs a CPU with AVX512_\w+ or AMX.*, and Old CPU has none of it; run the float32 graph without --compute$"):  # fmt: skip
        ours.open_openvino(wanted(tiny_onnx, compute=compute))


def test_without_openvino_the_command_is_told(tiny_onnx: Path, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openvino")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(MissingPackageError, match=r"^openvino is needed to run a graph with OpenVINO; install it with: pip install 'dlcv-edge\[openvino\]'$"):  # fmt: skip
        ours.check_openvino(wanted(tiny_onnx))


def test_one_that_does_not_load_is_told(tiny_onnx: Path, fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libtbb.so.12: cannot open')")
    monkeypatch.delitem(sys.modules, "openvino")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineError, match=r"^openvino is installed and does not load \(libtbb\.so\.12: cannot open\); install it again: pip install "):  # fmt: skip
        ours.check_openvino(wanted(tiny_onnx))


def test_a_graph_that_is_damaged_is_told_in_one_line(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(tiny_onnx.read_bytes()[:-2000])
    with pytest.raises(EngineError, match=r"^OpenVINO \d{4}\.\d\S* refuses .*cut\.onnx: .+") as caught:
        ours.open_openvino(Wanted(path, "onnx", read_card(tiny_onnx)))
    assert "\n" not in str(caught.value)


def test_a_graph_that_is_not_what_its_card_says_is_refused(tiny_onnx: Path) -> None:
    card = read_card(tiny_onnx)
    for wrong, sentence in (
        (
            card.changed(input_size_hw=(32, 64)),
            r"expected one input, image uint8 \(N, 32, 64, 3\), got .*; export it again$",
        ),
        (card.changed(head="probs"), "the card says head probs, the graph returns .*; export it again$"),
    ):
        with pytest.raises(EngineError, match=sentence):
            ours.open_openvino(Wanted(tiny_onnx, "onnx", wrong))


def test_multiply_adds_are_those_of_the_graph(tiny_graph: Callable[[str], Path]) -> None:
    onnx = pytest.importorskip("onnx")
    from dlcv.export.precision.layers import layers_of

    with ours.open_openvino(wanted(tiny_graph("logits"))) as session:
        ran = session.executed()
    assert ran is not None
    layers = layers_of(onnx.load(tiny_graph("logits")))
    assert len(ran.operators) == len(layers) == 21
    assert sum(ran.multiply_adds.values()) == sum(layer.multiply_adds for layer in layers)


@pytest.mark.parametrize(
    ("kind", "shapes", "expected"),
    [
        ("Convolution", [[1, 4, 10, 12], [8, 4, 3, 3], [1, 8, 10, 12]], 8 * 120 * 36),
        ("Convolution", [[1, 4, 10, 12], [2, 4, 2, 3, 3], [1, 8, 5, 6]], 8 * 30 * 18),
        ("Deconvolution", [[1, 4, 10, 12], [4, 3, 2, 2], [1, 3, 20, 24]], 4 * 120 * 12),
        ("FullyConnected", [[1, 7], [5, 7], [1, 5]], 35),
        ("MatMul", [[1, 7], [7, 5], [1, 5]], 35),
    ],
)
def test_multiply_adds_by_the_formula(kind: str, shapes: list[list[int]], expected: int) -> None:
    assert ours._multiply_adds(kind, shapes) == expected


@pytest.mark.parametrize(
    "code",
    [
        "from dlcv.runtime.sessions.openvino import cpu_abilities as f; f()",
        "from dlcv.runtime.doctor.probes import load_modules as f; assert f(['openvino'])['openvino'].version",
    ],
)
def test_nothing_is_reported_to_the_librarys_maker(code: str, tmp_path: Path) -> None:
    """openvino's telemetry would write its identity into the home folder and send an event when openvino is imported."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
