"""Settings as TOML, under the names of the command's options. No torch here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import MissingPackageError, UsageError, one_line
from dlcv.train.models.registry import model_entry
from dlcv.train.settings.settings import TASK_OPTIONS, TrainSettings, option_of

SETTINGS_NAME = "settings.toml"
"""In a run's folder: the settings with everything decided; `--config` takes it."""


def settings_text(settings: TrainSettings) -> str:
    """The settings as TOML, one a line; those that only the other task has are left out."""
    task = model_entry(settings.model).task
    others = {name for other, names in TASK_OPTIONS.items() if other != task for name in names}
    values = {name: value for name, value in settings.to_dict().items() if name not in others}
    return "".join(f"{option_of(name).removeprefix('--')} = {_toml(value)}\n" for name, value in values.items())


def read_config(path: Path, what: str = "--config ") -> dict[str, Any]:
    """The names and values of a TOML file; `what` stands before its name in an error.

    Raises:
        UsageError: when it cannot be read or is not TOML.
        MissingPackageError: on Python 3.10 without tomli.
    """
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ImportError as error:
        raise MissingPackageError("tomli", "read TOML with Python 3.10", "pip install tomli") from error
    try:
        values: dict[str, Any] = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise UsageError(f"{what}{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also of bytes that are not UTF-8, and of brackets in brackets
        raise UsageError(one_line(f"{what}{path} is not TOML: {error}; expected lines such as epochs = 20")) from error
    return values


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):  # of --model-option
        return _toml([f"{name}={json.dumps(each)}" for name, each in value.items()])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for one character and those beyond 16 bits
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
