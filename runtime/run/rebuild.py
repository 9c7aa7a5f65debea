"""`--rebuild`: a plan that was built for another release or GPU is built anew from the graph beside it.

The builder is part of the same installation but not of the runtime, so it is run as a command of its own (`dlcv-export --onnx`) in
the same Python. It needs TensorRT, and neither torch nor onnx.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from dlcv.runtime.card.plan_header import MisfitError
from dlcv.runtime.card.reader import kind_of, read_card
from dlcv.runtime.card.sidecar import check_sidecar
from dlcv.runtime.errors import EngineError, PlanError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.provenance.graph import check_graph

COMMAND = "dlcv.export.cli.export"


def rebuild_if_needed(path: Path, say: Callable[[str], None]) -> bool:
    """Builds a plan anew where it does not fit this machine; leaves everything else as it is.

    Args:
        path: an engine.
        say: takes a line that says what was built for what, and from what it is built anew.

    Returns:
        Whether it was built anew.

    Raises:
        PlanError: when the machine runs no plan, the graph is missing or another than the plan was built from, or the build failed.
        MissingPackageError, EngineError, CardError: as opening it would.
        KeyboardInterrupt: after Ctrl-C; the old plan is still there.
    """
    if kind_of(path) != "plan":
        return False
    from dlcv.runtime.sessions.trt import check_plan

    try:
        check_plan(path)
    except MisfitError as misfit:
        graph = _graph_of(path)
        say(f"{path}: {misfit.summary}: rebuilding from {graph} with: {shlex.join(['dlcv-export', *misfit.arguments])}")
        _run(path, misfit.arguments)
        return True
    return False


def _graph_of(path: Path) -> Path:
    """The graph that a plan was built from."""
    graph = path.with_suffix(".onnx")
    if not graph.is_file():
        raise PlanError(
            f"{path} cannot be rebuilt: there is no {graph}; copy the graph that it was built from beside it, or export it again here"
        )
    check_sidecar(graph)
    check_graph(graph, alone=True)
    expected = read_card(path).onnx_sha256
    if expected and expected != sha256_of(graph):
        raise PlanError(f"{path} cannot be rebuilt: {graph} is not the graph that it was built from; export both again")
    return graph


def _run(path: Path, arguments: tuple[str, ...]) -> None:
    if find_spec("dlcv.export") is None:
        raise EngineError(
            f"{path} cannot be rebuilt here: dlcv.export is not installed; rebuild where it is with: {shlex.join(['dlcv-export', *arguments])}"
        )
    child = subprocess.Popen([sys.executable, "-m", COMMAND, *arguments], stdout=subprocess.DEVNULL)
    try:
        code = child.wait()
    except KeyboardInterrupt:  # Ctrl-C reaches the child too, which ends its build
        child.wait()
        raise
    if code:
        raise PlanError(f"{path} could not be rebuilt (see above; exit code {code}); it is as it was")
