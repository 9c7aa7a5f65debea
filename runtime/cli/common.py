"""What every command shares: errors as one line with an exit code, `--version`, Ctrl-C as 130, SIGTERM as 143.

Only click is imported here, so that `--help` and `--version` are quick.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from dlcv.runtime.cli.standard_streams import open_closed_streams
from dlcv.runtime.cli.termination import ended_by_sigterm
from dlcv.runtime.errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    DlcvError,
    OutputError,
    UsageError,
    one_line,
)
from dlcv.runtime.version import __version__

F = TypeVar("F", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A number in a range; `nan` passes every comparison that is to refuse something, so neither it nor `inf` is one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Command(click.Command):
    """A command that ends a user's mistake with one line on stderr and the error's exit code, never a traceback.

    An exception that is not a `DlcvError` is a bug of ours and keeps its traceback. `--help` uses up to 120 columns of the
    terminal, and puts its options under headings where there are some: option -> the heading that begins with it.
    """

    def __init__(self, *args: Any, headings: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"max_content_width": 120} | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)
        self._headings = headings or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: list[tuple[str, list[tuple[str, str]]]] = [("Options", [])]
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None or isinstance(param, click.Argument):  # which the usage line shows
                continue
            heading = next((self._headings[name] for name in param.opts if name in self._headings), None)
            if heading is not None:
                sections.append((heading, []))
            sections[-1][1].append(record)
        for heading, records in sections:
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        open_closed_streams()
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:  # click's own way is the usage, a hint and a box of lines
            message = " ".join(error.format_message().split())
            click.echo(f"{self.name}: {one_line(message).rstrip('.')}. See {self.name} --help", err=True)
            raise click.exceptions.Exit(EXIT_ERROR) from error

    def invoke(self, ctx: click.Context) -> Any:
        came: list[int] = []
        try:
            with ended_by_sigterm(str(self.name), came) as by_sigterm:
                return self._invoke(ctx, by_sigterm)
        except KeyboardInterrupt:  # before the command itself, or after
            self._interrupted(ctx, bool(came))

    def _invoke(self, ctx: click.Context, by_sigterm: Callable[[], bool]) -> Any:
        try:
            return super().invoke(ctx)
        except DlcvError as error:
            interrupted = error.exit_code == EXIT_INTERRUPTED and by_sigterm()
            self._end(ctx, str(error), EXIT_TERMINATED if interrupted else error.exit_code)
        except KeyboardInterrupt:
            self._interrupted(ctx, by_sigterm())
        except BrokenPipeError:
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # the reader has gone: no second error at exit
            ctx.exit(EXIT_ERROR)
        except OSError as error:
            self._end(ctx, str(os_error(error)), EXIT_ERROR)

    def _interrupted(self, ctx: click.Context, by_sigterm: bool) -> None:
        self._end(ctx, "interrupted; what was finished is whole", EXIT_TERMINATED if by_sigterm else EXIT_INTERRUPTED)

    def _end(self, ctx: click.Context, message: str, code: int) -> None:
        click.echo(f"{self.name}: {one_line(message)}", err=True)
        ctx.exit(code)


def os_error(error: OSError, doing: str = "") -> OutputError:
    """An `OutputError` that says in one line what the operating system refused."""
    what = f"{doing}: " if doing else ""
    where = f"{error.filename}: " if error.filename else ""
    return OutputError(f"{what}{where}{error.strerror or error}")


def version_option(function: F) -> F:
    """Adds `--version`."""
    return click.version_option(__version__, package_name="dlcv-edge", message="%(prog)s %(version)s")(function)


def note(message: str) -> None:
    """A line for people, on stderr; stdout is for data."""
    click.echo(one_line(message), err=True)


def refuse_to_overwrite(target: Path | None, *inputs: Path) -> None:
    """Refuses a file to write to that is one of the inputs, or that cannot be written, before any work is done.

    Raises:
        UsageError: tells which.
        OutputError: when the system refuses it.
    """
    from dlcv.runtime.files import require_writable

    if target is None:
        return
    if not target.parent.is_dir():
        raise UsageError(f"{target} cannot be written: there is no folder {target.parent}")
    require_writable(target)
    for path in inputs:
        if target.exists() and path.exists() and os.path.samefile(target, path):
            raise UsageError(f"{target} is an input and would be overwritten; name another file")


def typed_options(ctx: click.Context) -> dict[str, str]:
    """The options on the command line, not those of defaults or the environment: parameter -> its name as it was meant (`--no-blend`)."""
    return {
        option.name: option.secondary_opts[0] if option.secondary_opts and not ctx.params[option.name] else option.opts[0]
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.name is not None
        and ctx.get_parameter_source(option.name) is click.core.ParameterSource.COMMANDLINE
    }  # fmt: skip


def with_options(groups: Sequence[Sequence[Callable[[Any], Any]]]) -> Callable[[F], F]:
    """A decorator that adds options of groups, in their order, which is that of `--help`."""
    every = [option for group in groups for option in group]
    return lambda function: reduce(lambda decorated, option: option(decorated), reversed(every), function)
