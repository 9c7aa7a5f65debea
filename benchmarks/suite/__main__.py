"""`python -m dlcv.benchmarks.suite`: every gate once; exit code 1 when one fails."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, Finite, note

PLANT_NAMES = ("decode", "encode", "session", "call", "tile", "int8", "import", "pipeline", "lock")


@click.command("suite", cls=Command)
@click.option("--gate", "names", multiple=True, metavar="NAME", help="This gate; several times.  [default: all]")
@click.option(
    "--pairs",
    type=click.IntRange(3),
    default=15,
    show_default=True,
    help="Of a gate; twice as many once more before it fails.",
)
@click.option("--output", type=click.Path(path_type=Path), default=None, help="Write the result here, as JSON.")
@click.option("--beside", type=click.Path(path_type=Path), default=None, help="An earlier result, to stand beside.")
@click.option(
    "--plant", type=click.Choice(PLANT_NAMES), default=None, help="Make our code slower first; its gates must fail."
)
@click.option(
    "--times", type=Finite(1), default=None, help="How many times as long what is planted takes.  [default: its own]"
)
def main(
    names: tuple[str, ...], pairs: int, output: Path | None, beside: Path | None, plant: str | None, times: float | None
) -> None:
    """Hold ratios of times to their bounds: the suite of CI.

    Exit code 0 when all hold, 1 when one fails.
    """
    from dlcv.benchmarks.bench.environment import command_line, environment
    from dlcv.benchmarks.bench.result import read_result, to_json
    from dlcv.benchmarks.suite.report import medians, result_of, table
    from dlcv.benchmarks.suite.run import run_suite
    from dlcv.runtime.errors import VerdictError
    from dlcv.runtime.files import make_folder, require_writable, write_bytes

    if output is not None:
        make_folder(output.parent)
        require_writable(output)
    earlier = medians(read_result(beside)) if beside else None
    facts = environment(command_line())
    outcomes = run_suite(names, pairs, plant, times, note)
    click.echo(table(outcomes, earlier))
    click.echo(f"\n{facts['cores']} cores of {facts['cpu']}, load {facts['load_before']}.")
    if output is not None:
        write_bytes(output, to_json(result_of(outcomes, facts)).encode())
    if failed := [one.sentence for one in outcomes if not one.passed]:
        raise VerdictError("; ".join(failed))


if __name__ == "__main__":
    main()
