"""`dlcv-bench` of a model on the GPU: fp16, TF32, fp32, batch 1 to 64, device-only, host to host, file to file; within a budget.

int8 is measured of a plan alone: ONNX Runtime's CUDA provider has no int8 convolution.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.bench.measure import Effort
from dlcv.benchmarks.gpu_suite.graphs import MODEL, graph_path, precisions_of, require_graph
from dlcv.benchmarks.gpu_suite.part import FOLDER, run_part, say, write_facts
from dlcv.runtime.errors import DlcvError

if TYPE_CHECKING:
    from dlcv.benchmarks.bench.request import Request
    from dlcv.benchmarks.bench.result import Result

BATCHES = (1, 8, 64, 16, 32, 4, 2)
"""In order of worth: what the budget does not reach is cut from the end."""
FILES_BATCH, TILES = 16, 128
INT8 = ("int8", "card")
ENGINES = (("fp16", "card"), ("fp32", "tf32"), ("fp32", "card"), INT8)
"""(precision of the graph, `--compute`), likewise."""
EFFORT = Effort(rounds=60, pairs=8, seconds=1.0, warm_up_s=1.0)
FILES_EFFORT = Effort(rounds=3, pairs=3, seconds=1.0, warm_up_s=0.0)
"""Each round opens the engine anew, which on a GPU takes seconds."""
NO_INT8 = "ONNX Runtime's CUDA provider has no int8 convolution, and no plan was built"


def main() -> None:
    """See the module."""
    budget: dict[str, Any] = {"type": float, "default": 80.0, "help": "seconds; no case begins that would end later"}
    run_part("bench", lambda given: measure(given.model, given.budget), MODEL, ("--budget", budget))


def measure(model: str, budget_s: float, device: str = "cuda") -> dict[str, Any]:
    """Runs and writes `FOLDER/bench-MODEL/bench.*` and the facts after each request, so that what stops it loses the last one alone.

    Raises:
        DlcvError: when nothing could be measured: the first reason.
    """
    from dlcv.benchmarks.bench.run import run_bench

    for precision in precisions_of(model):
        require_graph(model, precision)
    end = time.perf_counter() + budget_s
    results: list[Result] = []
    errors: list[DlcvError] = []
    cut: list[str] = []
    facts: dict[str, Any] = {}
    for request in _requests(model, device):
        left = end - time.perf_counter()
        if results and left <= 0:
            cut.append(
                f"{request.engines[0].name}, --compute {request.computes[0]}: {', '.join(request.measures)} at batch {', '.join(map(str, request.batches))}"
            )
            continue
        try:
            results.append(run_bench(replace(request, budget_s=left), ["dlcv-bench"], say))
        except DlcvError as error:
            errors.append(error)
        if results:
            facts = _kept(model, results, errors)
    if not results:
        raise errors[0]
    for what in cut:
        say(f"cut, since {budget_s:.0f} s were over: {what}")
    say(f"wrote {FOLDER / f'bench-{model}'}")
    return {"cut": cut, **facts}


def _kept(model: str, results: list[Result], errors: list[DlcvError]) -> dict[str, Any]:
    """Writes what was measured up to now; its facts."""
    from dlcv.benchmarks.bench.report.write import write_result
    from dlcv.runtime.files import make_folder

    cases = _merged([case for result in results for case in result.cases])
    left_out = {label: why for result in results for label, why in result.left_out.items()}
    if not _engines(model, *INT8):
        left_out["int8"] = NO_INT8
    make_folder(FOLDER / f"bench-{model}")
    write_result(replace(results[0], cases=cases, left_out=left_out), FOLDER / f"bench-{model}")
    refused = "; ".join(map(str, errors))
    facts = {"cases": [_figures(case) for case in cases], "left out": left_out | {"refused": refused}}
    write_facts(f"bench-{model}", {"cut": ["it was stopped"], **facts})  # the program's end writes the last ones
    return facts


def _requests(model: str, device: str) -> list[Request]:
    """In order of worth: the first engine in every way, then the others, then more batches; torch.compile last, which compiles for a minute."""
    from dlcv.benchmarks.bench.request import Request

    found = []
    plain: tuple[str, ...] = ("bare",)
    eager, compiled = (("torch",), ("torch", "compile")) if device == "cuda" else ((), ())
    for measures, batches, ways, baselines, effort in (
        (("host",), BATCHES[:3], ENGINES[:1], (*plain, *eager), EFFORT),
        (("roofline",), (FILES_BATCH,), ENGINES[:1], plain, EFFORT),
        (("host",), (FILES_BATCH,), ENGINES[:1], plain, EFFORT),
        (("files",), (FILES_BATCH,), ENGINES[:1], (*plain, "serial"), FILES_EFFORT),
        (("host",), BATCHES[:3], ENGINES[1:], plain, EFFORT),
        (("host",), BATCHES[3:], ENGINES, plain, EFFORT),
        *([(("host",), (FILES_BATCH,), ENGINES[:1], (*plain, *compiled), EFFORT)] if compiled else []),
    ):
        for precision, compute in ways:
            for engine in _engines(model, precision, compute):
                found.append(Request(
                    engines=(engine,), devices=(device,), sessions=("auto" if engine.suffix == ".plan" else "onnxruntime",),
                    computes=(compute,), batches=batches, measures=measures, baselines=baselines, tiles=TILES, effort=effort,
                ))  # fmt: skip
    return found


def _engines(model: str, precision: str, compute: str) -> list[Path]:
    """The graph, and its plan where one was built here; in int8 the plan alone."""
    graph = graph_path(model, precision)
    plan = graph.with_suffix(".plan")
    planned = [plan] if compute == "card" and plan.exists() else []
    return planned if precision == "int8" else [graph, *planned]


def _merged(cases: list[Any]) -> tuple[Any, ...]:
    """What several requests measured of the same case, as one."""
    merged: dict[Any, Any] = {}
    for case in cases:
        if case.key not in merged:
            merged[case.key] = case
            continue
        old = merged[case.key]
        merged[case.key] = replace(
            old, timings={**old.timings, **case.timings}, stages_ms={**old.stages_ms, **case.stages_ms},
            roofline=old.roofline or case.roofline, gpu={**old.gpu, **case.gpu}, missing={**old.missing, **case.missing},
            in_flight=old.in_flight or case.in_flight,
        )  # fmt: skip
    return tuple(merged.values())


def _figures(case: Any) -> dict[str, Any]:
    """Images a second of each kind of time, and the share of the matrix rate."""
    from statistics import median

    from dlcv.benchmarks.bench.result import DEVICE, FILES, HOST, OURS

    rates: dict[str, float] = {}
    beside = case.timings[HOST].lanes if HOST in case.timings else {}
    for kind in (DEVICE, HOST, FILES):
        if kind not in case.timings or not case.timings[kind].lanes:
            continue
        lanes = case.timings[kind].lanes
        lane = lanes.get(OURS) or next(iter(lanes.values()))  # device time is the bare library's
        rates[kind] = (1 if kind == FILES else case.batch) * 1000 / median(lane.samples_ms)
    others = {
        name: case.batch * 1000 / median(lane.samples_ms)
        for name, lane in beside.items()
        if name.startswith(("torch", "bare"))
    }
    share = None if case.roofline is None else case.roofline.share
    return {"engine": case.engine.name, "session": case.session, "computes": case.computes, "batch": case.batch, "images_per_s": rates, "beside": others, "of_matrix_rate": share}  # fmt: skip


if __name__ == "__main__":
    main()
