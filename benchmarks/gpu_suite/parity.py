"""ONNX Runtime's CUDA provider, with IO binding, against a CPU: in fp32, TF32 and fp16, with its images a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlcv.benchmarks.gpu_suite.graphs import MODEL, reference_path, require_graph
from dlcv.benchmarks.gpu_suite.part import median_s, run_part, say
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT, bound_precision

WAYS = (("fp32", "card"), ("fp32", "tf32"), ("fp16", "card"))
"""(precision of the graph, `--compute`)."""


def main() -> None:
    """See the module."""
    run_part("parity", lambda given: check(given.model), MODEL)


def check(model: str, device: str = "cuda") -> dict[str, Any]:
    """Agreement and speed of each of `WAYS`; raises VerdictError where one agrees too little."""
    import numpy as np

    from dlcv.runtime.sessions import open_session

    graphs: dict[str, Path] = {precision: require_graph(model, precision) for precision, _ in WAYS}
    with np.load(reference_path(model)) as kept:
        images, expected = kept["images"], kept["classes"]
    found: dict[str, Any] = {}
    problems = []
    for precision, compute in WAYS:
        with open_session(graphs[precision], device=device, session="onnxruntime", compute=compute) as session:
            answer = session.run(images)[session.card.head]
            classes = answer if session.card.task == "segmentation" else answer.argmax(1)
            agreement = float(np.mean(classes == expected))
            bound = MIN_AGREEMENT[session.card.task][bound_precision(precision, session.computes)]
            rate = len(images) / median_s(lambda: session.run(images))
            found[session.computes] = {
                "agreement": agreement,
                "bound": bound,
                "images_per_s": rate,
                "batch": len(images),
            }
            line = f"{session.description}: agreement {agreement:.6f}, expected at least {bound}; {rate:.0f} images/s"
        say(line)
        if agreement < bound:
            problems.append(line)
    if problems:
        raise VerdictError("parity failed: " + "; ".join(problems))
    return found


if __name__ == "__main__":
    main()
