"""`python -m dlcv.benchmarks.gpu_suite`: see the package."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, Finite, note

SEEN = ("plans", "contract", "parity")
"""Parts, by the first word of their name, without which a run has not seen what the suite is for: cut, they fail it, the spare ones apart."""


@click.command("gpu-suite", cls=Command)
@click.option("--list", "only_list", is_flag=True, help="Print the parts with their commands and expected minutes.")
@click.option(
    "--dry-run", is_flag=True, help="Without a driver: start every part; each must end at the missing driver."
)
@click.option("--only", default="", help="Parts, with commas.  [default: those of make bench-gpu]")
@click.option("--minutes", type=Finite(0), default=8.0, show_default=True, help="Budget of all parts together.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results"), show_default=True,
    help="Folder for GPU-DATE.json and .md (with --only, GPU-DATE-PARTS), or gpu-dry-run.md.",
)  # fmt: skip
def main(only_list: bool, dry_run: bool, only: str, minutes: float, output: Path) -> None:
    """See on this machine's NVIDIA GPU what dlcv claims: copies, contract, parity, plans, speed.

    Exit code 1 when a part failed, or one of plans, contract, parity was cut for time; 2 when none could run.
    """
    from dlcv.benchmarks.gpu_suite.parts import PARTS, Part
    from dlcv.runtime.errors import UsageError

    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = sorted(set(names) - {part.name for part in PARTS})
    if unknown:
        raise UsageError(f"no part is named {', '.join(unknown)}; there are {', '.join(part.name for part in PARTS)}")
    parts: list[Part] = [part for part in PARTS if part.name in names or not names]
    if only_list:
        from dlcv.benchmarks.gpu_suite.report import as_list

        click.echo(as_list(parts), nl=False)
    elif dry_run:
        _dry_run(parts, output)
    else:
        _run([part for part in parts if part.suite or names], minutes * 60, output, names)


def _run(parts: list, budget_s: float, output: Path, only: list[str]) -> None:  # type: ignore[type-arg]
    from dlcv.benchmarks.bench.environment import environment
    from dlcv.benchmarks.bench.nvml import find_gpu
    from dlcv.benchmarks.gpu_suite.report import write_report
    from dlcv.benchmarks.gpu_suite.run import CUT, FAILED, RAN, run_suite
    from dlcv.runtime.errors import EngineError, VerdictError
    from dlcv.runtime.files import make_folder
    from dlcv.runtime.sessions.cuda import driver_problem

    if problem := driver_problem():
        raise EngineError(f"this machine has {problem}; see what would run with --list")
    make_folder(output)
    gpu, _ = find_gpu()
    facts = environment(["make", "bench-gpu"], gpu)
    outcomes = run_suite(parts, budget_s, note, lambda found: write_report(found, facts, output, budget_s, only))
    for path in write_report(outcomes, facts, output, budget_s, only):
        note(f"wrote {path}")
    failed, cut = ([outcome.part.name for outcome in outcomes if outcome.state == state] for state in (FAILED, CUT))
    if cut:
        note(f"cut: {len(cut)} of {len(parts)} parts: {', '.join(cut)}")
    if failed:
        raise VerdictError(f"{len(failed)} of {len(parts)} parts failed: {', '.join(failed)}")
    if not any(outcome.state == RAN and outcome.part.driver for outcome in outcomes):
        raise EngineError(
            "no part could run: " + "; ".join(sorted({outcome.reason for outcome in outcomes if outcome.reason}))
        )
    expected = [o.part.name for o in outcomes if o.state == CUT and not o.part.spare]
    if unseen := [name for name in expected if name.split("-")[0] in SEEN]:
        raise VerdictError(
            f"cut: {len(cut)} of {len(parts)} parts, among them {', '.join(unseen)}; give it more time with --minutes"
        )


def _dry_run(parts: list, output: Path) -> None:  # type: ignore[type-arg]
    from dlcv.benchmarks.gpu_suite.report import dry_run_text
    from dlcv.benchmarks.gpu_suite.run import dry_run, ended_early
    from dlcv.runtime.errors import UsageError, VerdictError
    from dlcv.runtime.files import make_folder
    from dlcv.runtime.sessions.cuda import driver_problem

    if not driver_problem():
        raise UsageError(
            "this machine has an NVIDIA driver, and --dry-run shows what happens without one; leave it out"
        )
    make_folder(output)
    outcomes = dry_run(parts, note)
    (output / "gpu-dry-run.md").write_text(dry_run_text(outcomes, _where()))
    note(f"wrote {output / 'gpu-dry-run.md'}")
    if early := ended_early(outcomes):
        raise VerdictError("ended elsewhere than at the missing driver: " + ", ".join(early))


def _where() -> list[str]:
    """The machine and the versions that a dry run stands for."""
    from dlcv.benchmarks.bench.environment import environment
    from dlcv.benchmarks.gpu_suite.graphs import WIDTH

    facts = environment([])
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    narrow = f" The graphs were of width {WIDTH:g}." if WIDTH != 1 else ""
    return [
        f"{facts['started'][:10]}, commit {facts['commit'][:12]}: `python -m dlcv.benchmarks.gpu_suite --dry-run`, Python {facts['python']}, "
        f"{versions}, no NVIDIA driver. Minutes are as expected on an H200; none was measured there yet.{narrow}"
    ]


if __name__ == "__main__":
    main()
