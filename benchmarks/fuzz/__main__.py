"""`python -m dlcv.benchmarks.fuzz`: tries mutants of every kind of file, or makes one of them again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from dlcv.benchmarks.fuzz.targets import TARGETS
from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.errors import EXIT_INCOMPLETE


@click.command("fuzz", cls=Command)
@click.option("--inputs", type=click.IntRange(1), default=20_000, show_default=True, help="Mutants to try.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first number.")
@click.option(
    "--kind", "kinds", type=click.Choice(list(TARGETS)), multiple=True, help="May be repeated.  [default: all]"
)
@click.option("--seed", default=None, help="With --kind and --number: one mutant, made again.")
@click.option("--number", type=click.IntRange(-1), default=None, help="Of the mutant; -1 is the valid file.")
@click.option("--write", type=click.Path(path_type=Path), default=None, help="Write that mutant to a file.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default=None, help="Write the figures to a file.")
@click.pass_context
def main(
    ctx: click.Context,
    /,
    inputs: int,
    first: int,
    kinds: tuple[str, ...],
    seed: str | None,
    number: int | None,
    write: Path | None,
    json_path: Path | None,
) -> None:
    """Spoil small valid files and read them. Exit code 1 where one ends neither well nor in a line of dlcv's own.

    \b
    python -m dlcv.benchmarks.fuzz --inputs 1000 --kind png
    python -m dlcv.benchmarks.fuzz --kind png --seed rgb --number 17 --write bad.png
    """
    from dlcv.benchmarks.fuzz.campaign import run_campaign, told, write_seeds
    from dlcv.benchmarks.fuzz.mutators import mutated
    from dlcv.benchmarks.fuzz.pool import Pool

    if seed is not None and (len(kinds) != 1 or number is None):
        raise click.UsageError("--seed is for one mutant: give --kind and --number too")
    with tempfile.TemporaryDirectory() as scratch, Pool(Path(scratch)) as pool:
        seeds = write_seeds(Path(scratch), list(kinds) or None)
        if seed is not None and number is not None:
            files = [data for _, data in sorted(seeds[kinds[0]].items())]
            if write is not None:
                data = seeds[kinds[0]][seed]
                write.write_bytes(mutated(data, number, files, TARGETS[kinds[0]].mutators)[0] if number >= 0 else data)
            click.echo(told(pool.read(kinds[0], seed, number)))
            return
        report = run_campaign(pool, seeds, inputs, first, note)
    facts = report.to_dict()
    if json_path is not None:
        json_path.write_text(json.dumps(facts, indent=1) + "\n")
    click.echo(
        json.dumps({name: facts[name] for name in ("inputs", "outcomes", "error_kinds", "peak_bytes", "seconds")})
    )
    if report.bad:
        ctx.exit(EXIT_INCOMPLETE)


if __name__ == "__main__":
    main()
