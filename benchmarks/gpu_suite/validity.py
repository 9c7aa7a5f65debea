"""TensorRT-RTX in one line: what `get_engine_validity` says on this GPU of a plan that was built ahead of time."""

from __future__ import annotations

from typing import Any

from dlcv.benchmarks.gpu_suite.part import FOLDER, require_gpu, run_part, say
from dlcv.runtime.errors import EngineError


def main() -> None:
    """See the module."""
    run_part("validity", lambda given: ask(given.model), ("model", {"help": "whose fp32 graph is built"}))


def ask(model: str) -> dict[str, Any]:
    """Builds a plan, which needs no GPU, and asks."""
    from dlcv.export.builders.build import build_plan
    from dlcv.export.builders.options import BuildOptions
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.sessions import cuda
    from dlcv.runtime.sessions.trt_library import find_library

    graph = FOLDER / f"{model}-fp32.onnx"
    if not graph.exists():
        raise EngineError(f"{graph} is missing; write it with: python -m dlcv.benchmarks.gpu_suite.graphs {model}")
    plan = graph.with_suffix(".rtx.plan")
    say(build_plan(graph, plan, card=read_card(graph), options=BuildOptions("tensorrt-rtx", max_batch=2)).sentence)
    require_gpu()
    library, missing = find_library("tensorrt_rtx")
    if library is None:
        raise EngineError(f"tensorrt_rtx {missing}")
    name, capability = cuda.gpu_name_and_capability()
    with cuda.primary_context("asking TensorRT-RTX"):
        trt = library.module
        validity, diagnostics = trt.Runtime(library.log).get_engine_validity(plan.read_bytes())
        why = [
            word for word, value in trt.EngineInvalidityDiagnostics.__members__.items() if int(diagnostics) & int(value)
        ]
    answer = f"TensorRT-RTX {library.version} on {name} ({capability}): {validity}{' ' if why else ''}{', '.join(why)}"
    say(answer)
    return {"answer": answer}


if __name__ == "__main__":
    main()
