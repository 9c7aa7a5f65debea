"""A TOML file as options of a command: names and types are checked against the command's own, all mistakes at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from dlcv.train.settings.config import read_config

NOT_IN_A_FILE = ("config", "model-file", "dry-run", "resume", "overwrite", "version", "help")
"""What one call is asked to do, and no property of a run."""


def options_of_file(path: Path, params: Iterable[click.Parameter]) -> tuple[dict[str, Any], list[str]]:
    """The values that a file gives, as click would have given them, and what is wrong with the others.

    Args:
        path: TOML; names are those of the options without `--`.
        params: of the command.

    Returns:
        Values by parameter name, and a sentence for each name that is unknown and each value that does not fit.

    Raises:
        UsageError: when the file cannot be read or is not TOML.
    """
    known = {max(param.opts, key=len).removeprefix("--"): param for param in params}
    known = {name: param for name, param in known.items() if name not in NOT_IN_A_FILE}
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, value in read_config(path).items():
        if name not in known:
            close = difflib.get_close_matches(name.replace("_", "-"), known, 1)
            advice = f"did you mean {close[0]}?" if close else "dlcv-train --help lists the known ones"
            mistakes.append(f"unknown name {name!r}; {advice}")
            continue
        try:
            values[known[name].name or name] = _value(known[name], value)
        except click.BadParameter as error:
            mistakes.append(f"{name} = {value!r}: {error.message.rstrip('.')}")
    return values, mistakes


def _value(param: click.Parameter, value: Any) -> Any:
    """A value as click would have converted what is typed.

    Raises:
        BadParameter: when it is of another type or out of range.
    """
    kind = param.type
    if param.multiple or (param.name in ("classes", "snapshot_tiles") and isinstance(value, list)):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise click.BadParameter('expected a list of texts, such as ["a", "b"]')
        return tuple(value)
    if isinstance(kind, click.types.BoolParamType):
        return _of_type(value, bool, "true or false")
    if isinstance(kind, click.types.FloatParamType):
        return kind.convert(float(_of_type(value, (int, float), "a number")), param, None)
    if isinstance(kind, click.types.IntParamType):
        return kind.convert(_of_type(value, int, "a whole number"), param, None)
    if param.name == "warmup" and isinstance(value, int):
        value = str(value)
    return kind.convert(_of_type(value, str, "a text in quotes"), param, None)


def _of_type(value: Any, kinds: type | tuple[type, ...], expected: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise click.BadParameter(f"expected {expected}")
    return value
