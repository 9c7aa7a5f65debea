"""`dlcv-infer` as it is typed, in this process."""

from __future__ import annotations

from click.testing import CliRunner

from dlcv.runtime.cli.infer import main


def invoke(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; anything but an orderly exit is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


TOOK = r" \(\d+ s, [\d.e+]+ tiles/s\)"
"""What stands behind the last line of a run of a few tiles."""
