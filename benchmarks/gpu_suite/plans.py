"""Plans of full TensorRT: built from the graphs by dlcv's builder on this GPU, run by its session, compared with a CPU, timed.

For a Python with numpy, tensorrt and pycuda alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlcv.benchmarks.gpu_suite.part import FOLDER, median_s, run_part, say
from dlcv.runtime.errors import DlcvError, EngineError, ExportError, VerdictError

PRECISIONS = ("fp32", "fp16", "int8")
BATCHES = (1, 8)


def main() -> None:
    """See the module."""
    run_part("plans", lambda given: check(given.model), ("model", {"help": "such as fcn8s"}))


def check(model: str, builder: str = "tensorrt") -> dict[str, Any]:
    """Agreement and times of each precision's plan; what a builder does not build is told and left out.

    Raises:
        EngineError, ExportError: where a graph is missing, or no precision could be built.
        VerdictError: where a plan agrees too little.
    """
    graphs = {precision: FOLDER / f"{model}-{precision}.onnx" for precision in PRECISIONS}
    reference = FOLDER / f"{model}.reference.npz"
    for path in (*graphs.values(), reference):
        if not path.exists():
            raise EngineError(f"{path} is missing; write it with: python -m dlcv.benchmarks.gpu_suite.graphs {model}")
    with np.load(reference) as kept:
        images, expected = kept["images"], kept["classes"]
        bounds = {precision: float(kept[f"bound_{precision}"]) for precision in PRECISIONS}
    found: dict[str, Any] = {}
    left_out: dict[str, DlcvError] = {}
    for precision, graph in graphs.items():
        try:
            found[precision] = _plan(graph, builder, images, expected) | {"bound": bounds[precision]}
        except ExportError as error:
            left_out[precision] = error
            say(f"{precision} is left out: {error}")
    if not found:
        raise next(iter(left_out.values()))
    low = [f"{precision}: agreement {facts['agreement']:.6f}, expected at least {facts['bound']}" for precision, facts in found.items() if facts["agreement"] < facts["bound"]]  # fmt: skip
    if low:
        raise VerdictError("parity failed: " + "; ".join(low))
    return found | {"left out": {precision: str(error) for precision, error in left_out.items()}}


def _plan(graph: Path, builder: str, images: Any, expected: Any) -> dict[str, Any]:
    from dlcv.benchmarks.bench.bare_tensorrt import TensorrtLoop
    from dlcv.export.builders.build import build_plan
    from dlcv.export.builders.options import BuildOptions
    from dlcv.runtime.card_reader import read_card
    from dlcv.runtime.sessions.trt import open_plan

    card = read_card(graph)
    report = build_plan(
        graph, graph.with_suffix(".plan"), card=card, options=BuildOptions(builder, max_batch=max(BATCHES))
    )
    say(report.sentence)
    facts: dict[str, Any] = {"built": report.sentence} | ({"ran": report.ran} if report.ran else {})
    with open_plan(report.path) as session, TensorrtLoop(report.path) as bare:
        answer = session.run(images)[card.head]
        classes = answer if card.task == "segmentation" else answer.argmax(1)
        facts["agreement"] = float(np.mean(classes == expected))
        for batch in BATCHES:
            given = np.resize(images, (batch, *images.shape[1:]))
            facts[f"images/s at batch {batch}"] = {
                "host to host": batch / median_s(lambda: session.run(given)),  # noqa: B023 - called here, at once
                "bare loop": batch / median_s(lambda: bare.run(given)),  # noqa: B023
                "device": batch / float(np.median([bare.device_seconds(given) for _ in range(20)])),
            }
        say(f"{session.description}: agreement {facts['agreement']:.6f}; " + "; ".join(
            f"batch {batch}: " + ", ".join(f"{way} {rate:.0f} images/s" for way, rate in facts[f"images/s at batch {batch}"].items())
            for batch in BATCHES
        ))  # fmt: skip
    return facts


if __name__ == "__main__":
    main()
