"""Plans of full TensorRT: built from the graphs by dlcv's builder on this GPU, run by its session, compared with a CPU, timed.

For a Python with numpy, tensorrt and pycuda alone. What is worth most comes first, and facts are kept precision by precision.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dlcv.benchmarks.gpu_suite.part import FOLDER, left_s, median_s, run_part, say, write_facts
from dlcv.runtime.errors import DlcvError, EngineError, VerdictError

PRECISIONS = ("fp16", "int8", "tf32", "fp32")
"""In order of worth; `tf32` is the float32 graph with TF32 allowed."""
BATCHES = (1, 16, 64, 8, 32, 4, 2)
"""In order of worth: what the budget does not reach is cut from the end."""
OPT_BATCH = 16
SIZES_IN_TURN = (4, 4, 4, 4, 4, 4, 1, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 3, 4)
"""So often, since two slots take turns, and one records a graph when a size has come to it twice."""
TIMED_S = 0.5
"""Of each way at each batch."""


def main() -> None:
    """See the module."""
    budget: dict[str, Any] = {"type": float, "default": 90.0, "help": "seconds; no plan and no batch begins after them"}
    run_part("plans", lambda given: check(given.model, budget_s=given.budget), ("model", {"help": "such as fcn8s"}), ("--budget", budget))  # fmt: skip


def check(model: str, builder: str = "tensorrt", budget_s: float = 90.0) -> dict[str, Any]:
    """Agreement and times of each precision's plan; what a builder or the proof refuses is told and left out.

    Raises:
        EngineError: where a graph is missing.
        DlcvError: where no precision could be built and run, the reason of the first.
        VerdictError: where a plan agrees too little, or its CUDA graphs do not say what it says call by call, or cannot be recorded.
    """
    graphs = {
        precision: FOLDER / f"{model}-{'fp32' if precision == 'tf32' else precision}.onnx" for precision in PRECISIONS
    }
    reference = FOLDER / f"{model}.reference.npz"
    for path in (*graphs.values(), reference):
        if not path.exists():
            raise EngineError(f"{path} is missing; write it with: python -m dlcv.benchmarks.gpu_suite.graphs {model}")
    with np.load(reference) as kept:
        images, expected = kept["images"], kept["classes"]
        bounds = {precision: float(kept[f"bound_{precision}"]) for precision in PRECISIONS}
    left = left_s(budget_s)
    found: dict[str, Any] = {"cases": [], "left out": {}, "cut": []}
    errors: list[DlcvError] = []
    for precision, graph in graphs.items():
        if left() <= 0:
            found["cut"].append(f"{precision}, since {budget_s:.0f} s were over")
            continue
        try:
            found[precision] = _plan(precision, graph, builder, images, expected, left, found, model) | {
                "bound": bounds[precision]
            }
        except DlcvError as error:  # not built, refused by its precision's proof, or by the session that would run it
            errors.append(error)
            found.pop(precision, None)
            found["left out"][precision] = str(error)
            say(f"{precision} is left out: {error}")
        write_facts(f"plans-{model}", found)
    if not found["cases"] and errors:
        raise errors[0]
    built = {precision: found[precision] for precision in PRECISIONS if precision in found}
    low = [f"{precision}: agreement {facts['agreement']:.6f}, expected at least {facts['bound']}" for precision, facts in built.items() if facts["agreement"] < facts["bound"]]  # fmt: skip
    if low:
        raise VerdictError("parity failed: " + "; ".join(low))
    graphs_wrong = [
        f"{precision}: " + (f"batches of {facts['graphs']['sizes that differ']} differ from those call by call" if facts["graphs"]["sizes that differ"] else facts["graphs"]["notices"][0])
        for precision, facts in built.items()
        if facts["graphs"]["sizes that differ"] or facts["graphs"]["notices"]
    ]  # fmt: skip
    if graphs_wrong:
        raise VerdictError("CUDA graphs: " + "; ".join(graphs_wrong))
    return found


def _plan(
    precision: str,
    graph: Path,
    builder: str,
    images: Any,
    expected: Any,
    left: Callable[[], float],
    found: dict[str, Any],
    model: str,
) -> dict[str, Any]:
    """Builds, compares and times one; its figures are added to the `cases` and `cut` of `found`."""
    from dlcv.benchmarks.bench.bare_tensorrt import TensorrtLoop
    from dlcv.export.builders.build import build_plan
    from dlcv.export.builders.options import BuildOptions
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.sessions.trt import open_plan

    card, top = read_card(graph), max(BATCHES)
    options = BuildOptions(builder, opt_batch=min(OPT_BATCH, top), max_batch=top, tf32=precision == "tf32")
    target = graph.with_name(graph.name.replace(f"{card.precision}.onnx", f"{precision}.plan"))
    report = build_plan(graph, target, card=card, options=options, timing_cache=target.with_suffix(".timing-cache"))
    say(report.sentence)
    facts: dict[str, Any] = {"built": report.sentence} | ({"ran": report.ran} if report.ran else {})
    with open_plan(report.path) as session, open_plan(report.path, graphs=False) as plain, TensorrtLoop(report.path) as bare:  # fmt: skip
        answer = session.run(images)[card.head]
        classes = answer if card.task == "segmentation" else answer.argmax(1)
        facts["agreement"] = float(np.mean(classes == expected))
        differ = _sizes_that_differ(session, plain, images, card.head)
        facts["graphs"] = {
            "description": session.description, "notices": session.notices, "same as call by call": not differ,
            "sizes that differ": differ,
        }  # fmt: skip
        found[precision] = facts
        write_facts(f"plans-{model}", found)  # what follows may be stopped
        say(f"{session.description}: agreement {facts['agreement']:.6f}; as graphs the same: {facts['graphs']['same as call by call']}")  # fmt: skip
        for notice in session.notices:
            say(notice)
        for batch in BATCHES:
            if left() <= 0:
                found["cut"].append(f"{report.path.name} at batch {batch}, since the budget was over")
                continue
            given = np.resize(images, (batch, *images.shape[1:]))
            device = [bare.device_seconds(given) for _ in range(3)]  # the first ones warm up
            count = max(3, min(20, int(TIMED_S / max(device[-1], 1e-6))))
            rates = {
                "host-to-host": batch / median_s(lambda: session.run(given), count),  # noqa: B023 - called here, at once
                "host to host, no graphs": batch / median_s(lambda: plain.run(given), count),  # noqa: B023
                "bare loop": batch / median_s(lambda: bare.run(given), count),  # noqa: B023
                "device": batch / float(np.median([bare.device_seconds(given) for _ in range(count)])),
            }
            found["cases"].append({
                "engine": report.path.name, "session": "tensorrt", "computes": precision, "batch": batch,
                "images_per_s": rates, "of_matrix_rate": None,
            })  # fmt: skip
            write_facts(f"plans-{model}", found)
            say(f"{report.path.name}, batch {batch}: " + ", ".join(f"{way} {rate:.0f} images/s" for way, rate in rates.items()))  # fmt: skip
    return facts


def _sizes_that_differ(session: Any, plain: Any, images: Any, head: str) -> list[int]:
    """Of batches in turn, each size several times, what is not the same with CUDA graphs as call by call."""
    differ = []
    for count in SIZES_IN_TURN:
        given = np.resize(images, (count, *images.shape[1:]))
        if not np.array_equal(session.run(given)[head], plain.run(given)[head]):
            differ.append(count)
    return differ


if __name__ == "__main__":
    main()
