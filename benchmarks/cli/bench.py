"""`dlcv-bench`: what engines cost in time and memory, and whether that has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, Finite, note, typed_options, version_option
from dlcv.runtime.cli.session_options import COMPUTES, DEVICES, SESSIONS
from dlcv.runtime.cli.trust_options import TRUST_OPTIONS, take_trust
from dlcv.train.cli.own_models import own_models

BASELINES = ("bare", "onnxruntime", "torch", "compile", "serial")
COMPARING = ("baseline", "tolerance", "any_engine", "output")
"""Parameters of a comparison of two results."""
MEASURES = ("host", "flight", "files", "cold", "roofline")


class Several(click.types.StringParamType):
    """Words with commas between them, each of a choice, or numbers from 1."""

    name = "list"

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        words = tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
        if not words and (param is None or param.name != "baselines"):
            self.fail("expected one at least", param, ctx)
        for word in words:
            if self._known and word not in self._known:
                self.fail(f"{word!r} is not one of {', '.join(self._known)}", param, ctx)
            if not self._known and not (word.isdecimal() and int(word) > 0):
                self.fail(f"{word!r} is no number from 1", param, ctx)
        return words if self._known else tuple(map(int, words))


def _trust(function: Any) -> Any:
    for option in reversed(TRUST_OPTIONS):
        function = option(function)
    return function


@click.command(
    "dlcv-bench",
    cls=Command,
    headings={
        "--device": "What is run",
        "--measure": "What is measured",
        "--compare": "Results",
        "--require-hash": "Trust",
    },
)
@click.argument("engines", nargs=-1, type=click.Path(path_type=Path), metavar="ENGINE...")
@click.option(
    "--device",
    "devices",
    type=Several(DEVICES),
    default="auto",
    show_default=True,
    help="auto, cpu, cuda; several with commas.",
)
@click.option(
    "--session", "sessions", type=Several(SESSIONS), default="auto", show_default=True, help="Libraries, with commas."
)
@click.option(
    "--compute",
    "computes",
    type=Several(COMPUTES),
    default="card",
    show_default=True,
    help="card, tf32, fp16, bf16, with commas.",
)
@click.option(
    "--batch", "batches", type=Several(), default="1", show_default=True, help="Images a call, with commas: 1,4,8."
)
@click.option(
    "--in-flight",
    type=Several(),
    default="1,2,4",
    show_default=True,
    help="Batches at once, with commas, for throughput.",
)
@click.option(
    "--baselines",
    type=Several(BASELINES),
    default="bare,torch,serial",
    show_default=True,
    help="Of bare, onnxruntime, torch, compile, serial; '' for none.",
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Weights for torch.  [default: fresh ones]",
)
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="Folder of tiles.  [default: generated ones]",
)
@click.option("--tiles", type=click.IntRange(1), default=16, show_default=True, help="How many, file to file.")
@click.option(
    "--measure",
    "measures",
    type=Several(MEASURES),
    default=",".join(MEASURES),
    show_default=True,
    help="What, with commas.",
)
@click.option("--rounds", type=click.IntRange(2), default=400, show_default=True, help="At most; p99 needs 368.")
@click.option(
    "--pairs", type=click.IntRange(2), default=15, show_default=True, help="Rounds at least, whatever they take."
)
@click.option("--seconds", type=Finite(0), default=10.0, show_default=True, help="No new round after that.")
@click.option(
    "--warm-up", "warm_up_s", type=Finite(0), default=5.0, show_default=True, help="Seconds at most, for each way."
)
@click.option(
    "--budget", "budget_s", type=Finite(0), default=None, help="Seconds; no case begins that would end later."
)
@click.option(
    "--processes", type=click.IntRange(0), default=8, show_default=True, help="Of their own, for the cold start."
)
@click.option(
    "--compare",
    "baseline",
    type=click.Path(path_type=Path),
    default=None,
    help="An earlier bench.json, with the run or the bench.json named as ENGINE.",
)
@click.option(
    "--tolerance", type=Finite(0), default=0.05, show_default=True, help="Changes up to this share do not matter."
)
@click.option("--any-engine", is_flag=True, help="One engine against another: by device, session and batch alone.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for bench.json, .csv, .md and .html."
)
@_trust
@own_models
@version_option
@click.pass_context
def main(
    ctx: click.Context, /, engines: tuple[Path, ...], baseline: Path | None, tolerance: float, any_engine: bool, output: Path | None, **options: Any
) -> None:  # fmt: skip
    """Time, throughput and memory of engines: on the device alone, host to host and file to file, beside the same work without dlcv.

    Exit code 1 when --compare finds something worse, or nothing to compare; 0 when nothing is worse.

    \b
    dlcv-bench fcn8s.onnx --session onnxruntime,openvino --batch 1,4 --output bench/
    dlcv-bench fcn8s.onnx --compare bench/bench.json
    dlcv-bench --compare last-week.json today.json
    """  # fmt: skip
    from dlcv.benchmarks.bench.result import Result, read_result
    from dlcv.runtime.errors import UsageError

    given = [path for path in engines if path.suffix == ".json"]
    _refuse_without_effect(ctx, results=bool(given and baseline))
    old = read_result(baseline) if baseline else None
    trust = take_trust(options)
    if given and (len(engines) > 1 or old is None):
        raise UsageError(f"{given[0]} is a result; name it alone, with --compare BASELINE.json")
    if not engines:
        raise UsageError("expected an engine: dlcv-bench fcn8s.onnx")
    new: Result = read_result(given[0]) if given else _measured(engines, trust, output, options)
    if old is not None:
        _compare(old, new, output, tolerance=tolerance, any_engine=any_engine)


def _refuse_without_effect(ctx: click.Context, *, results: bool) -> None:
    """Options that would be passed over in silence.

    Raises:
        UsageError: names them.
    """
    from dlcv.runtime.errors import UsageError

    typed = typed_options(ctx)
    if "baseline" not in typed and (wrong := [typed[name] for name in ("tolerance", "any_engine") if name in typed]):
        raise UsageError(f"{', '.join(wrong)}: for --compare; leave it out")
    if results and (wrong := [typed[name] for name in typed if name not in COMPARING]):
        raise UsageError(f"{', '.join(wrong)}: two results are compared and nothing is measured; leave it out")


def _measured(engines: tuple[Path, ...], trust: Any, output: Path | None, options: dict[str, Any]) -> Any:
    from dlcv.benchmarks.bench.environment import command_line
    from dlcv.benchmarks.bench.measure import Effort
    from dlcv.benchmarks.bench.report.text import as_markdown
    from dlcv.benchmarks.bench.report.write import write_result
    from dlcv.benchmarks.bench.request import Request
    from dlcv.benchmarks.bench.run import run_bench
    from dlcv.runtime.files import make_folder

    if output:
        make_folder(output)  # before the work, so that it is not lost for want of a folder
    effort = Effort(**{name: options.pop(name) for name in ("rounds", "pairs", "seconds", "warm_up_s")})

    def keep(so_far: Any) -> None:
        if output:
            write_result(so_far, output)

    result = run_bench(Request(engines=engines, effort=effort, trust=trust, **options), command_line(), note, keep)
    click.echo(as_markdown(result), nl=False)
    for path in write_result(result, output) if output else ():
        note(f"wrote {path}")
    return result


def _compare(old: Any, new: Any, output: Path | None, **how: Any) -> None:
    import json

    from dlcv.benchmarks.bench.compare import compare, comparison_table
    from dlcv.benchmarks.bench.report.text import markdown_of
    from dlcv.runtime.files import make_folder, write_bytes

    comparison = compare(old, new, **how)
    text = markdown_of(comparison_table(comparison)) + "\n"
    click.echo(text, nl=False)
    if output:
        make_folder(output)
        write_bytes(output / "comparison.md", text.encode())
        write_bytes(output / "comparison.json", (json.dumps(comparison.to_dict(), indent=1) + "\n").encode())
    comparison.require()
