"""An inspection as lines for people. What a file says is escaped to one line a fact: a name cannot move the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import RTX_GPUS
from dlcv.runtime.errors import one_line
from dlcv.runtime.inspection.facts import Inspection
from dlcv.runtime.tables import markdown_table

KINDS = {"onnx": "ONNX graph", "plan": "TensorRT plan", "checkpoint": "checkpoint", "reference": "torch's answers",
         "sidecar": "sidecar of an export"}  # fmt: skip
_SIDECAR = {"matches": "matches", "differs": "DIFFERS: this is not the file that dlcv-export wrote",
            "not listed": "does not list this file: it is of another export", "none": "none beside it"}  # fmt: skip
_LIMIT = 200
_OF_GRAPHS = ("ONNX Runtime", "OpenVINO", "verified in float32")
"""What runs graphs, and no plans."""


def inspection_text(found: Inspection, *, tensors: bool = False) -> str:
    """The facts as aligned lines, and with `tensors` a table of all tensors below them."""
    facts = [("file", found.path), ("kind", KINDS[found.kind]), ("size", _bytes(found.bytes)), ("sha256", found.sha256)]
    if found.kind in ("onnx", "plan", "reference"):
        facts.append(("sidecar", _SIDECAR[found.sidecar]))
    facts.append(("signature", _signature(found.signature)))
    facts += _card(found.card, found.kind)
    stated = " (as the card says)" if found.ports_from == "card" else ""
    facts += [("input", f"{port}{stated}") for port in found.inputs]
    facts += [("output", f"{port}{stated}") for port in found.outputs]
    facts += _DETAILS[found.kind](found.details)
    if found.built_by:
        facts.append(("built by", _pairs(found.built_by)))
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {_short(value)}".rstrip() for name, value in facts]
    listed = found.details.get("weights" if found.kind == "checkpoint" else "arrays", ())
    if tensors and isinstance(listed, list) and listed:
        rows = [[_short(t["name"]), _short(t["dtype"]), _shape(t["shape"])] for t in listed]
        lines += ["", markdown_table(["tensor", "type", "shape"], rows)]
    return "\n".join(lines)


def _signature(found: Mapping[str, str]) -> str:
    key = found.get("key")
    texts = {
        "none": "none beside it",
        "not checked": f"claims to be of the key {key}; not checked: pass --key",
        "verified": f"verified: of the key {key}; {found.get('comment')}",
        "fails": f"FAILS: {found.get('problem')}",
    }
    return texts[found["state"]]


def _proof(card: ModelCard, kind: str) -> str:
    """The card's line of proof; of a plan, nothing that a CPU's library did with the graph, as cards before this said."""
    if kind != "plan" or not any(name in card.proof for name in _OF_GRAPHS):
        return card.proof
    graph = "; ".join(part for part in card.proof.split("; ") if part.endswith(f" in {card.precision}") and not any(name in part for name in _OF_GRAPHS))  # fmt: skip
    return f"not asked: built before plans were asked; of its graph the card says: {graph or 'nothing'}"


def _card(card: ModelCard | None, kind: str) -> list[tuple[str, str]]:
    if card is None:
        return [("card", "none: dlcv cannot run it")]
    height, width = card.input_size_hw
    facts = [
        ("model", f"{card.model}, width {card.width:g}" + (f", {_pairs(card.options)}" if card.options else "")),
        ("task", f"{card.task}, {len(card.classes)} classes: {', '.join(card.classes)}"),
        ("uncounted", ", ".join(card.classes[index] for index in card.uncounted)),
        ("takes", f"images of {height} x {width} pixels, others by {card.fit}"),
        ("sizes", f"{card.size_range}, chosen by --window" if card.size_range else ""),
        ("mean, std", f"RGB {_numbers(card.mean_rgb)}; {_numbers(card.std_rgb)} (8-bit levels)"),
        (
            "precision",
            f"{card.precision}{', the rest ' + card.rest if card.precision == 'int8' else ''} (as the card says)",
        ),
        ("proof", _proof(card, kind)),
        ("head", card.head if card.head != "none" else ""),
        ("averages", f"{card.members} checkpoints" if card.members > 1 else ""),
        ("checkpoint", card.checkpoint_sha256),
        ("graph", card.onnx_sha256),
        ("max batch", str(card.max_batch or "")),
    ]
    return [(name, value) for name, value in facts if value]


def _onnx(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    weights = "; ".join(f"{n['values']:,} {dtype} in {n['tensors']}" for dtype, n in details["weights"].items())
    operators = ", ".join(f"{name} {count}" for name, count in details["operators"].items())
    kernels = ", ".join(f"{count} {dtype}" for dtype, count in details["kernels"].items())
    outside = details["external_files"]
    foreign = ", ".join(f"{domain} ({', '.join(names)})" for domain, names in details["domains"].items())
    return [
        ("opset", f"{_pairs(details['opset'])} (IR {details['ir_version']})"),
        ("operators", f"{details['nodes']}: {operators}"),
        (
            "products",
            f"{kernels} (convolutions and matrix products, by the type of their weights)" if kernels else "none",
        ),
        ("weights", f"{weights or 'none'}; {_bytes(details['weight_bytes'])}"),
        *([("OUTSIDE", f"values are in other files: {', '.join(outside)}")] if outside else []),
        *([("DOMAINS", f"operators of other domains: {foreign}")] if foreign else []),
    ]


def _plan(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    targets = [f"{c} ({RTX_GPUS[c]})" if c in RTX_GPUS else c for c in details["compute_capabilities"]]
    targets += ["others that this dlcv does not know"] if details["other_targets"] else []
    facts = [("compute", ", ".join(targets) or "not in the header: the GPU it was built on, as a rule")]
    return [*facts, ("compiled", f"{details['compiled']} (as the sidecar says)")] if details.get("compiled") else facts


def _checkpoint(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    if details["unknown"]:
        return [("tensors", f"unknown: {details['unknown']}"), ("members", str(details["members"]))]
    training, others = details["training_tensors"], details["other_names"]
    types = sorted({tensor["dtype"] for tensor in details["weights"]})
    return [
        ("tensors", f"{len(details['weights'])} ({', '.join(types)}), {_bytes(details['weight_bytes'])}"),
        ("parameters", f"{details['parameters']:,}"),
        *([("training", f"{training} tensors of the run's state beside the weights")] if training else []),
        *([("NOT WEIGHTS", f"unpickling it would import {', '.join(others)}")] if others else []),
    ]


def _reference(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    arrays = len(details["arrays"])
    return [("answers", f"{details['answers']}, and the logits of {arrays - details['answers']}")]


def _sidecar(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("lists", f"{name}: {state}") for name, state in details["files"].items()]


_DETAILS = {"onnx": _onnx, "plan": _plan, "checkpoint": _checkpoint, "reference": _reference, "sidecar": _sidecar}


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _LIMIT else f"{line[:_LIMIT]}... (all of it: --json)"


def _bytes(count: int) -> str:
    return f"{count:,} bytes" + (f" ({count / 2**20:.1f} MiB)" if count >= 1 << 20 else "")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _shape(sizes: Iterable[Any]) -> str:
    return "(" + ", ".join(map(str, sizes)) + ")"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
