"""Cold start, first call and peak memory of a case, in processes of their own, ours and the bare library's in turn."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from dlcv.benchmarks.bench import baselines, fresh
from dlcv.benchmarks.bench.baselines import Work
from dlcv.benchmarks.bench.nvml import Gpu
from dlcv.benchmarks.bench.request import Running, Shared
from dlcv.benchmarks.bench.result import COLD, FIRST, OURS, Case, Lane
from dlcv.runtime.errors import EngineError

Program = tuple[str, dict[str, Any]]
"""A program of `fresh.py`, and what it is told."""


def with_cold(case: Case, running: Running, shared: Shared) -> Case:
    """The case with what its processes told; as it is where none are asked for."""
    if not shared.request.processes:
        return case
    group = running.group
    order = {"path": group.path, "batch": case.batch, "size_hw": case.engine.input_size_hw, "device": group.device}
    order |= {"session": group.session, "compute": group.compute} | vars(shared.request.trust)
    programs = {OURS: (fresh.OURS, order)} | bare_program(running.work, order)
    found, missing = _processes(programs, shared.request.processes, shared.gpu_of(case.device))
    for kind, value in ((COLD, "cold_s"), (FIRST, "first_s")):
        lanes = {name: Lane(tuple(1000 * getattr(one, value) for one in all_)) for name, all_ in found.items()}
        case = case.with_timing(kind, lanes, missing)
    device_mb = tuple(one.device_mb for one in found[OURS] if one.device_mb is not None)
    if not device_mb:
        case = case.without("device memory", shared.why_no_gpu(case.device))
    peaks = {name: tuple(one.peak_mb for one in all_) for name, all_ in found.items()}
    return replace(case, host_peak_mb=peaks, device_peak_mb=device_mb)


def _processes(
    programs: dict[str, Program], count: int, gpu: Gpu | None
) -> tuple[dict[str, list[fresh.Fresh]], dict[str, str]]:
    """`count` processes of each program, in turn; and why a bare one is missing."""
    found: dict[str, list[fresh.Fresh]] = {name: [] for name in programs}
    missing: dict[str, str] = {}
    for number in range(count + 1):
        for name in random.Random(number).sample(list(found), len(found)):
            code, told = programs[name]
            try:
                one = fresh.run_fresh(code, told, gpu)
            except EngineError as error:
                if name == OURS:
                    raise
                missing[name] = str(error)
                del found[name]
                continue
            if number:  # the first one reads the files from the disk
                found[name].append(one)
    return found, missing


def bare_program(work: Work, order: dict[str, Any]) -> dict[str, Program]:
    """The bare library's program for a process of its own; none for TensorRT, nor where the file's bytes were checked, which it would
    read again."""
    if work.data is not None:
        return {}
    if work.session == "onnxruntime":
        tf32 = {"use_tf32": "1" if work.computes == "tf32" else "0"}
        provider = ("CUDAExecutionProvider", tf32) if work.device == "cuda" else ("CPUExecutionProvider", {})
        return {baselines.BARE["onnxruntime"]: (fresh.ONNXRUNTIME, order | {"providers": [provider]})}
    if work.session == "openvino":
        hint = {"fp16": "f16", "bf16": "bf16"}.get(work.compute, "f32")
        return {baselines.BARE["openvino"]: (fresh.OPENVINO, order | {"hint": hint})}
    return {}
