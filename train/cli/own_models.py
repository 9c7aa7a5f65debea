"""`--model-file FILE.py`: models of the user's own, for every command that makes networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., Any])

OPTION = click.option(
    "--model-file",
    "model_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.py",
    help="Models of your own, for --model: a Python file, which is run.",
)


def takes_own_models(function: F) -> F:
    """Has the files of `--model-file` (`OPTION`) run before the command; the command itself does not see them."""

    @wraps(function)
    def wrapped(*args: Any, model_files: tuple[Path, ...], **kwargs: Any) -> Any:
        if model_files:
            from dlcv.train.models.own import use_models

            for path in model_files:
                use_models(path)
        return function(*args, **kwargs)

    return cast(F, wrapped)


def own_models(function: F) -> F:
    """Adds `--model-file`, and does what it asks for."""
    decorated: F = OPTION(takes_own_models(function))
    return decorated
