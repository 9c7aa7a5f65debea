"""The list, the dry run and the results, as Markdown and JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcv.benchmarks.gpu_suite.parts import Part
from dlcv.benchmarks.gpu_suite.run import FAILED, RAN, Outcome, endings, facts_path
from dlcv.runtime.tables import markdown_table

KIND, SCHEMA = "dlcv-gpu-suite", 1
LONGEST = 150
"""Characters of parts in a file's name."""
GOALS = {("fcn8s", "fp16", "device"): 2280.0}
"""Images a second on an H200, by model, precision and kind of time, of graph or plan: half of a measured 790 TFLOP/s at 173.4 GFLOP a tile."""
FILES_GOAL = 0.95
"""File to file, of the slower of the device alone and the codec alone on that machine's cores."""


def as_list(parts: Sequence[Part]) -> str:
    """The parts in their order, as Markdown."""
    rows = [
        [part.name, part.tells, f"{part.minutes:g}", "if time is left" if part.spare else "yes" if part.suite else "no"]
        for part in parts
    ]
    table = markdown_table(["part", "tells", "minutes", "in make bench-gpu"], rows)
    return table + "\n\n" + "\n".join(f"    {part.command}" for part in parts) + "\n"


def dry_run_text(outcomes: Sequence[Outcome], facts: Sequence[str]) -> str:
    """What each command ended with on a machine without a driver."""
    table = as_list([outcome.part for outcome in outcomes]).rstrip()
    text = ["# The GPU's commands on a machine without a driver", *facts, table, "## What each ended with"]
    lines = []
    for outcome in outcomes:
        ended = f"exit code {outcome.code}, {outcome.seconds:.0f} s" if outcome.code is not None else "not started"
        lines.append(f"- {outcome.part.name} ({ended}): " + "; ".join(f"`{line}`" for line in endings(outcome)))
    return "\n\n".join(text) + "\n\n" + "\n".join(lines) + "\n"


def write_report(
    outcomes: Sequence[Outcome], environment: Mapping[str, Any], folder: Path, budget_s: float, only: Sequence[str] = ()
) -> list[Path]:
    """Writes `GPU-DATE.json` and `.md`, of some parts alone `GPU-DATE-PARTS`; an earlier one of the same day and parts is replaced."""
    facts = {outcome.part.name: _facts(outcome) for outcome in outcomes}
    name = f"{_slug(str(environment['gpu']) or 'no-gpu')}-{time.strftime('%Y-%m-%d', time.gmtime())}"
    name += f"-{_slug('-'.join(only))[:LONGEST]}" if only else ""
    values = {
        "kind": KIND, "schema": SCHEMA, "environment": dict(environment), "budget_s": budget_s,
        "parts": [
            {"name": o.part.name, "command": o.part.command, "state": o.state, "reason": o.reason, "seconds": round(o.seconds, 1),
             "last_line": o.last_line, "facts": facts[o.part.name]}
            for o in outcomes
        ],
    }  # fmt: skip
    json_path, md_path = folder / f"{name}.json", folder / f"{name}.md"
    json_path.write_text(json.dumps(values, indent=1) + "\n")
    md_path.write_text(_markdown(outcomes, environment, facts, budget_s))
    return [json_path, md_path]


def _markdown(outcomes: Sequence[Outcome], environment: Mapping[str, Any], facts: Mapping[str, Any], budget_s: float) -> str:  # fmt: skip
    told = ("gpu", "driver", "cpu", "cores", "python", "dlcv", "versions", "commit", "started")
    lines = [f"- {name}: {environment[name]}" for name in told if environment.get(name)]
    rows = [[o.part.name, o.state, f"{o.seconds:.0f}", o.last_line if o.state == RAN else o.reason] for o in outcomes]
    text = [f"# dlcv on {environment['gpu'] or 'no GPU'}", "\n".join(lines)]
    text.append(f"## Parts, in at most {budget_s / 60:g} minutes\n\n" + _table(["part", "", "s", "says"], rows))
    benches = [case for found in facts.values() for case in (found or {}).get("cases", [])]
    if benches:
        text.append("## Images a second\n\n" + bench_table(benches))
        text += _goals(benches)
    files = [case for found in facts.values() for case in (found or {}).get("files", [])]
    if files:
        text.append("## File to file, beside its bounds\n\n" + files_table(files))
        best = max(files, key=lambda case: float(case["of_slower"]))
        verb = "reached" if best["of_slower"] >= FILES_GOAL else "missed"
        text.append(f"Goal: file to file at least {FILES_GOAL} of the slower of device and codec; {verb} with {best['of_slower']:.3f} by {best['engine']} at batch {best['batch']}.")  # fmt: skip
    return "\n\n".join(text) + "\n"


def bench_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """A row a case: the device alone, host to host, file to file, and the share of the matrix rate."""
    rows = []
    for case in cases:
        rates = [f"{rate:.0f}" if (rate := case["images_per_s"].get(kind)) else "-" for kind in ("device", "host-to-host", "file-to-file")]  # fmt: skip
        rates.append(", ".join(f"{name} {rate:.0f}" for name, rate in case.get("beside", {}).items()) or "-")
        share = "-" if case["of_matrix_rate"] is None else f"{100 * case['of_matrix_rate']:.0f} %"
        rows.append([f"{case['engine']}, {case['session']}", case["computes"], str(case["batch"]), *rates, share])
    header = [
        "engine",
        "computes in",
        "batch",
        "device",
        "host to host",
        "file to file",
        "host to host beside it",
        "of the matrix rate",
    ]
    return _table(header, rows)


def files_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """A row an engine and batch: tiles a second of dlcv-infer, of the device, the session and the codec alone, and what was reached."""
    rows = [
        [case["engine"], str(case["batch"]), str(case["tiles"])]
        + [f"{case[name]:.0f}" if case[name] else "-" for name in ("file_to_file", "device", "session", "codec")]
        + [str(case["cores"]), f"{case['of_slower']:.3f}", f"{case['of_session']:.3f}"]
        for case in cases
    ]
    header = [
        "engine", "batch", "tiles", "file to file", "device alone", "session alone", "codec alone", "cores",
        "of the slower of device and codec", "of session and codec",
    ]  # fmt: skip
    return _table(header, rows)


def _goals(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence a goal that was measured."""
    found = []
    for (model, computes, kind), goal in GOALS.items():
        rates = [
            (c["images_per_s"][kind], f"{c['engine']} at batch {c['batch']}") for c in cases
            if c["engine"].startswith(f"{model}-") and c["computes"] == computes and kind in c["images_per_s"]
        ]  # fmt: skip
        if rates:
            rate, by = max(rates)
            verb = "reached" if rate >= goal else "missed"
            found.append(
                f"Goal for an H200, {model} in {computes}, {kind}: {goal:.0f} images/s; {verb} with {rate:.0f} by {by}."
            )
    return found


def _facts(outcome: Outcome) -> Any:
    """What the part's program kept, also before it was stopped; None where it kept nothing, or did not run."""
    path = facts_path(outcome.part)
    return json.loads(path.read_text()) if outcome.state in (RAN, FAILED) and path.exists() else None


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, [[cell.replace("|", "\\|") for cell in row] for row in rows])


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
