"""`dlcv-train`: labelled tiles in, a run with checkpoints out."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcv.runtime.cli.common import Command, note, typed_options, version_option
from dlcv.runtime.errors import UsageError
from dlcv.train.cli.own_models import use_model_files
from dlcv.train.cli.train_options import HEADINGS, train_options
from dlcv.train.processes.place import place_of_torchrun

if TYPE_CHECKING:
    from dlcv.train.loop import Trainer
    from dlcv.train.processes.distributed import Processes
    from dlcv.train.settings.settings import TrainSettings

_LEAVE_LAST_S = 2.0
"""torchrun ends all processes when the first has failed, and the main one is to tell first."""


class TrainCommand(Command):
    """Of several processes, the main one alone tells what is wrong with the options, and `--help`."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        if place_of_torchrun().main:
            return super().make_context(*args, **kwargs)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                return super().make_context(*args, **kwargs)
        except click.exceptions.Exit:
            time.sleep(_LEAVE_LAST_S)
            raise


@click.command("dlcv-train", cls=TrainCommand, headings=HEADINGS)
@train_options
@version_option
@click.pass_context
def main(ctx: click.Context, /, model_files: tuple[Path, ...], **options: Any) -> None:
    """Train a segmentation or classification model on labelled images.

    Writes best.pt, last.pt, history.csv, settings.toml, split.csv and probe/ (a few validation images that export verifies
    on) into runs/MODEL. Ctrl-C leaves a last.pt that --resume goes on from.

    \b
    dlcv-train --model fcn8s --data tiles/ --dataset deepglobe
    dlcv-train --model fcn8s --data sample --width 0.25 --epochs 8
    dlcv-train --model resnet18 --data images/ --epochs 20
    torchrun --nproc-per-node 2 -m dlcv.train --model resnet18 --data images/
    """
    from dlcv.train.processes.torchrun import joined

    with joined() as processes:
        use_model_files(ctx, model_files, options)
        _train(ctx, processes, **options)


def _train(
    ctx: click.Context,
    joined_processes: Processes | None,
    /,
    output: Path | None,
    config: Path | None,
    dry_run: bool,
    resume: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    from dlcv.train.models.registry import model_entry

    typed = options.keys() & typed_options(ctx).keys()
    mistakes: list[str] = []
    if config is not None:
        from dlcv.train.cli.config_file import options_of_file

        values, mistakes = options_of_file(config, ctx.command.params)
        of_file = values.pop("output", None)
        output = output or of_file
        options |= {name: value for name, value in values.items() if name not in typed}
        typed |= values.keys()
    task = model_entry(options["model"]).task  # before torch is loaded, so that a wrong name is told at once
    if resume and (overwrite or dry_run):
        other = "--overwrite starts again" if overwrite else "--dry-run begins none"
        raise UsageError(f"--resume goes on with the run and {other}; pass one of them")
    settings = _settings(options, task, typed, mistakes, str(config or ""))

    from dlcv.train import run
    from dlcv.train.data.left_out import advised
    from dlcv.train.processes.distributed import ALONE

    processes = joined_processes or ALONE
    say = note if processes.main else _say_nothing
    if dry_run:
        _tell(settings, processes, say)
        return
    folder = output or Path("runs") / settings.model
    if resume:
        given = {name: getattr(settings, name) for name in options if name in typed or name == "model"}
        trainer = run.resume(folder, given, say=say, processes=processes)
    else:
        trainer = run.start(settings, folder, overwrite=overwrite, say=say, processes=processes)
    with advised(trainer.run.settings.unreadable):
        scores = trainer.train()
    if not processes.main:
        return
    if scores is None and not trainer.stopped_early:
        note(f"{folder}: all {trainer.run.settings.epochs} epochs were done already; train further with --epochs N")
    _end(ctx, trainer, folder, scores.headline_name if scores else "result")


def _say_nothing(_: str) -> None:
    """What a process says that is not the main one."""


def _settings(
    options: dict[str, Any], task: str, typed: Collection[str], mistakes: Sequence[str], config: str
) -> TrainSettings:
    """The settings, refused with all that is wrong with them and with the file that they come from."""
    from dlcv.train.settings.settings import TrainSettings, model_options, require_own_options

    found = list(mistakes)
    try:
        require_own_options(options["model"], task, typed)
        options["options"] = model_options(options["options"])
    except UsageError as error:
        if not config:
            raise
        found.append(str(error))
        options["options"] = {}
    for name in ("classes", "snapshot_tiles"):
        if isinstance(options[name], str):
            options[name] = tuple(filter(None, map(str.strip, options[name].split(","))))
    settings = TrainSettings(**options)

    if config:
        from dlcv.train.checks import problems, refuse

        refuse([*found, *problems(settings)], f"--config {config}")
    return settings


def _tell(settings: TrainSettings, processes: Processes, say: Callable[[str], None]) -> None:
    from dlcv.train.plan import plan_of
    from dlcv.train.settings.config import settings_text

    plan = plan_of(settings, say, processes)
    if processes.main:
        click.echo(settings_text(plan.settings), nl=False)
    for line in plan.lines():
        say(line)


def _end(ctx: click.Context, trainer: Trainer, folder: Path, name: str) -> None:
    """What came of it, and the commands that go on from there."""
    from shlex import quote

    files = "".join(f" --model-file {quote(str(path))}" for path in ctx.params["model_files"])
    export = f"dlcv-export{files} --model {trainer.run.settings.model}"
    best = (
        "" if folder == Path("runs") / trainer.run.settings.model else f" --checkpoint {quote(str(folder / 'best.pt'))}"
    )
    note(f"best {name} {trainer.best:.4f}: {folder / 'best.pt'}; export it with: {export}{best}")
    if kept := trainer.kept.paths:
        members = " ".join(f"--checkpoint {quote(str(path))}" for path in kept)
        note(f"lowest validation losses, for an ensemble: {export} {members}")
