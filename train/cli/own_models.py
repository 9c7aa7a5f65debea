"""`--model-file FILE.py`: models of the user's own, for every command that makes networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from dlcv.runtime.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

OPTION = click.option(
    "--model-file",
    "model_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.py",
    help="Models of your own, for --model: a Python file, which is run.",
)


def use_model_files(ctx: click.Context, files: Sequence[Path], options: dict[str, Any]) -> None:
    """Runs the files of `--model-file`. Where no `--model` was typed, the one that they have is meant.

    Args:
        ctx: of the command.
        files: as they were typed.
        options: of the command; `model` is set.

    Raises:
        UsageError: when a file is no good, or has several models and none was named.
    """
    if not files:
        return
    from dlcv.train.models.own import use_models

    names = [name for path in files for name in use_models(path)]
    if "model" in options and ctx.get_parameter_source("model") is click.core.ParameterSource.DEFAULT:
        if len(names) > 1:
            raise UsageError(f"{', '.join(map(str, files))}: has {', '.join(names)}; name one of them with --model")
        (options["model"],) = names


def takes_own_models(function: F) -> F:
    """Does what `--model-file` (`OPTION`) asks for before the command, which does not see it."""

    @wraps(function)
    def wrapped(*args: Any, model_files: tuple[Path, ...], **kwargs: Any) -> Any:
        use_model_files(click.get_current_context(), model_files, kwargs)
        return function(*args, **kwargs)

    return cast(F, wrapped)


def own_models(function: F) -> F:
    """Adds `--model-file`, and does what it asks for."""
    decorated: F = OPTION(takes_own_models(function))
    return decorated
