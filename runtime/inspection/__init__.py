"""What is in a file: `inspect_file` reads a graph, a plan, a checkpoint or a reference without a GPU and without running it.

Nothing is unpickled and no library of an engine is loaded; a file need not be trusted to be inspected.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import find_card, kind_of, read_card
from dlcv.runtime.card.sidecar import compiled_of_plan, listed_files, sidecar_state
from dlcv.runtime.errors import EngineError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.graphs.port import Port
from dlcv.runtime.inspection.facts import Inspection, ports_of_card
from dlcv.runtime.inspection.signed import signature_state

__all__ = ["Inspection", "Port", "inspect_file"]

_EXPECTED = {".pt": "a checkpoint, which is a zip archive", ".pth": "a checkpoint, which is a zip archive",
             ".plan": "a TensorRT plan, which begins with b'ftrt' or b'vtrt'", ".npz": "a zip archive"}  # fmt: skip

_EXPORTED = ("onnx", "plan", "reference")
"""What a sidecar lists."""


def inspect_file(path: str | Path, key: str | None = None) -> Inspection:
    """Reads what a file says of itself.

    Args:
        path: of an `.onnx`, a `.plan`, a checkpoint, a `.reference.npz` or a sidecar `.json`.
        key: a public key of minisign, or a file that holds one, that the signature beside it is checked with.

    Raises:
        EngineError, CardError: when it is missing, damaged or none of these, in one line.
        UsageError, MissingPackageError: when the key is none, or py-minisign is not installed.
    """
    path = Path(path)
    kind = _kind(path)
    common: dict[str, Any] = {"path": str(path), "kind": kind, "bytes": path.stat().st_size}
    read = {"onnx": _onnx, "plan": _plan, "checkpoint": _checkpoint, "reference": _reference, "sidecar": _sidecar}
    values = read[kind](path)
    digest = sha256_of(path)
    card = find_card(path)
    if card is not None:
        values = _ports_of(card, kind) | values
        values["built_by"] = dict(card.versions) | values.get("built_by", {})
    sidecar = sidecar_state(path, digest) if kind in _EXPORTED else "none"
    if kind == "plan" and sidecar == "matches":
        values["details"] |= {"compiled": compiled_of_plan(path)}
    signature = signature_state(path, key)
    return Inspection(**common, sha256=digest, card=card, sidecar=sidecar, signature=signature, **values)


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG  # `kind_of` says what is wrong
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise EngineError(f"{path} is not a regular file; expected an .onnx, a .plan or a checkpoint")
    kind = kind_of(path)
    if kind == "onnx" and path.suffix in _EXPECTED:
        with open(path, "rb") as file:
            head = file.read(4)
        old = "; it is a pickle, which is not read because reading it runs code" if head[:1] == b"\x80" else ""
        raise EngineError(f"{path} is not {_EXPECTED[path.suffix]}: it begins with {head!r}{old}")
    return kind


def _onnx(path: Path) -> dict[str, Any]:
    from dlcv.runtime.graphs.onnx_graph import read_onnx_graph

    try:
        graph = read_onnx_graph(path)
    except EngineError:
        if path.suffix == ".onnx":
            raise
        raise EngineError(f"{path} is none of what dlcv-inspect reads: an .onnx, a .plan, a checkpoint, a .reference.npz, a sidecar .json") from None  # fmt: skip
    return {
        "inputs": tuple(graph.inputs),
        "outputs": tuple(graph.outputs),
        "ports_from": "graph",
        "built_by": {"producer": graph.producer} if graph.producer else {},
        "details": graph.details(),
    }


def _plan(path: Path) -> dict[str, Any]:
    from dlcv.runtime.card.plan_header import read_plan_header

    header = read_plan_header(path)
    return {
        "built_by": {"builder": header.builder},
        "details": {
            "builder": header.kind,
            "builder_version": header.version,
            "compute_capabilities": list(header.compute_capabilities),
            "other_targets": header.other_targets,
        },
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    from dlcv.runtime.inspection.archives import checkpoint_details

    return {"details": checkpoint_details(path)}


def _reference(path: Path) -> dict[str, Any]:
    from dlcv.runtime.inspection.archives import reference_arrays

    arrays = reference_arrays(path)
    return {
        "details": {
            "arrays": [{"name": a.name, "dtype": a.dtype, "shape": list(a.shape)} for a in arrays],
            "answers": sum(not a.name.startswith("logits_") for a in arrays),
        }
    }


def _sidecar(path: Path) -> dict[str, Any]:
    """Each file that it lists, and whether the one that lies beside it is the one that was listed."""
    read_card(path)  # a JSON of something else ends here
    states = {}
    for name in sorted(listed_files(path)):
        beside = path.parent / Path(name).name
        states[name] = sidecar_state(beside, sha256_of(beside)) if beside.is_file() else "missing"
    return {"details": {"files": states}}


def _ports_of(card: ModelCard, kind: str) -> dict[str, Any]:
    """Inputs and outputs as the card promises them; a plan's own are in what only its library reads."""
    if kind != "plan" or card.head == "none":
        return {}
    image, answer = ports_of_card(card)
    return {"inputs": (image,), "outputs": (answer,), "ports_from": "card"}
