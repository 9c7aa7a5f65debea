"""What the layers of a plan of full TensorRT run in, and of a builder that chooses types itself (8.x) held to what they were to.

The builder's own flag promises it; TensorRT's inspector says it of the plan that was built. A layer that the inspector does not
tell, such as one that was fused into a larger kernel, proves nothing either way; the sentence counts those that it tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dlcv.runtime.errors import ExportError, VerdictError
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.trt_layers import inspected
from dlcv.runtime.sessions.trt_library import TrtLibrary

_NAMED = 3
FUSED = re.compile(r" \+ | \|\| ")
"""Between the names of layers that became one: behind one another, or beside."""


def executed_in(library: TrtLibrary, plan: Any, shape: tuple[int, ...], by: str) -> Executed:
    """What the layers of a plan run in.

    Args:
        library: that built it.
        plan: its bytes, as a buffer.
        shape: of the input, (N, H, W, 3), within its profile.
        by: builder and GPU, in words.

    Raises:
        ExportError: when the library does not open what it built, or does not tell its layers.
    """
    runtime = library.module.Runtime(library.log)
    engine = None if runtime is None else runtime.deserialize_cuda_engine(plan)
    context = None if engine is None else _context(library.module, engine)
    if context is None:
        raise ExportError(f"what {by} built cannot be opened again: {library.log.last_error()}; build it anew")
    operators = inspected(library.module, engine, context, shape)
    if not operators:
        raise ExportError(
            f"{by} does not tell what the plan's layers run in, so nothing is proven; export with --precision fp32"
        )
    return Executed(by, operators)


def _context(trt: Any, engine: Any) -> Any:
    """A context that knows shapes and takes no memory: 10 has a strategy for it, and 11 no longer the call of 8.6."""
    strategies = getattr(trt, "ExecutionContextAllocationStrategy", None)
    if strategies is None:
        return engine.create_execution_context_without_device_memory()
    return engine.create_execution_context(strategies.USER_MANAGED)


def require_held(ran: Executed, held: Mapping[str, str], precision: str, *, tf32: bool = False) -> None:
    """Holds what a plan's layers run in to what they were held to.

    Args:
        ran: as the inspector tells.
        held: precision by name of each layer that was held to one.
        precision: of the card.
        tf32: whether float32 may be computed in TF32.

    Raises:
        VerdictError: when a layer runs in another precision, or too few in the card's.
    """
    if tf32:  # then it is what float32 means here
        fp32 = (replace(one, precision="fp32") if one.precision == "tf32" else one for one in ran.operators)
        ran = replace(ran, operators=tuple(fp32))
    wrong = []
    for operator in ran.operators:
        wanted = {held[name] for name in FUSED.split(operator.name) if name in held}
        if wanted and operator.precision not in wanted:
            wrong.append(f"{operator.name} in {operator.precision}, expected {' or '.join(sorted(wanted))}")
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    found = [f"{ran.by} runs {', '.join(wrong[:_NAMED])}{more}"] if wrong else ran.problems(precision)
    if found:
        raise VerdictError(f"the plan is not in {precision} as its graph is, no file was written: {'; '.join(found)}")


def told(ran: Executed, held: Mapping[str, str]) -> str:
    """In a line: what ran, and of how many layers with weights it is told."""
    known = sum(any(name in held for name in FUSED.split(operator.name)) for operator in ran.operators)
    counted = f", {known} of them held to the graph's types" if held else ""
    return f"{ran.sentence()} ({len(ran.operators)} layers with weights are told{counted})"
