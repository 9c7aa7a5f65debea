"""What the commands and the library cost to start, as ratios of CPU time to bare imports: `python -m dlcv.benchmarks.programs.startup`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click

from dlcv.benchmarks.timing import MIN_PAIRS, PairedRatio, pairs_of, ratio_of_pairs
from dlcv.runtime.cli.common import Command
from dlcv.runtime.machine import cpu_name
from dlcv.runtime.tables import markdown_table

COMMANDS = {
    "dlcv-train": "dlcv.train.cli.train",
    "dlcv-sample": "dlcv.train.cli.sample",
    "dlcv-explain": "dlcv.train.cli.explain",
    "dlcv-report": "dlcv.train.cli.report",
    "dlcv-export": "dlcv.export.cli.export",
    "dlcv-infer": "dlcv.runtime.cli.infer",
    "dlcv-inspect": "dlcv.runtime.cli.inspect",
    "dlcv-doctor": "dlcv.runtime.cli.doctor",
    "dlcv-evaluate": "dlcv.benchmarks.cli.evaluate",
    "dlcv-parity": "dlcv.benchmarks.cli.parity",
    "dlcv-bench": "dlcv.benchmarks.cli.bench",
}
"""Module of each command; its function is `main`."""

START = "pass"
BARE = "import click"
LIBRARIES = "import numpy, cv2, onnxruntime"
HELP_AT_MOST = 1.7
IMPORTS = {
    "import": ("import dlcv.runtime", START, 1.6),
    "load": ("from dlcv.runtime import load", LIBRARIES, 1.3),
}
"""Statement, what it stands beside, bound. The first imports none of the libraries, the second takes what it stands on."""


def help_ratio(command: str, pairs: int = MIN_PAIRS) -> PairedRatio:
    """Whole processes: `command --help` against `import click`."""
    return _ratio(help_statement(command), BARE, pairs)


def help_statement(command: str) -> str:
    """Python that does what `command --help` does."""
    return f"import sys; sys.argv = ['{command}', '--help']; from {COMMANDS[command]} import main; main()"


def import_ratio(statement: str, beside: str, pairs: int = MIN_PAIRS) -> PairedRatio:
    """Whole processes: an import against another statement."""
    return _ratio(statement, beside, pairs)


def _ratio(ours: str, bare: str, pairs: int) -> PairedRatio:
    return ratio_of_pairs(*pairs_of(lambda: run_process(ours), lambda: run_process(bare), pairs, cpu_of_process))


def run_process(statement: str) -> None:
    """A new Python that runs a statement and ends."""
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)


def cpu_of_process(work: Callable[[], object]) -> float:
    """CPU seconds of the processes that the work starts and waits for."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command("startup", cls=Command)
@click.option("--pairs", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(pairs: int) -> None:
    """Print the start-up ratios as a Markdown table."""
    rows = [
        [f"`{command} --help`", f"`{BARE}`", str(help_ratio(command, pairs)), f"{HELP_AT_MOST:g}"]
        for command in COMMANDS
    ]
    for statement, beside, at_most in IMPORTS.values():
        rows.append([f"`{statement}`", f"`{beside}`", str(import_ratio(statement, beside, pairs)), f"{at_most:g}"])
    click.echo(markdown_table(["A", "B", "A / B, median (quartiles)", "at most"], rows))
    click.echo(f"\nCPU time of whole processes in turn on {cpu_name()}, Python {sys.version.split()[0]}.")


if __name__ == "__main__":
    main()
