"""Every error that a user can meet, and the exit code it gives.

    DlcvError                   2   something that was asked for cannot be done; the message is one line
    +-- UsageError              2   an argument, a folder or a file name is wrong
    +-- DatasetError            2   images, labels or a dataset description do not fit together
    +-- CheckpointError         2   a checkpoint is missing, damaged or of another model
    +-- CardError               2   a file carries no model card, or one that cannot be read
    +-- EngineError             2   an .onnx or .plan cannot be run
    |   +-- PlanError           2   a plan does not fit this machine: version, GPU or driver
    |   +-- PrecisionError      2   a session would compute in another precision than was asked for
    |   +-- OutOfMemory         2   a batch does not fit into memory; the pipeline tries smaller ones first
    |   +-- SessionLost         2   a session broke, and could not be opened anew
    +-- ExportError             2   a graph or a plan cannot be made
    +-- OutputError             2   results cannot be written: no space, no permission, a folder in use
    +-- MissingPackageError     2   an optional package is needed; the message holds the pip command
    +-- VerdictError            1   the work was done and the verdict is no: parity or verification failed
    +-- Interrupted           130   Ctrl-C; says how to go on
    +-- TileError               -   one tile cannot be read or fitted: a row in the manifest, the run goes on

Exit codes of every command: 0 done; 1 done, but some tiles failed or the verdict is no; 2 nothing was done because of a
usage, data or engine error; 130 interrupted with Ctrl-C, 143 ended by SIGTERM, what was finished is whole.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_INCOMPLETE = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class DlcvError(Exception):
    """Base of all errors of this project; `exit_code` is what a command ends with."""

    exit_code = EXIT_ERROR


class UsageError(DlcvError):
    """An argument, a folder or a file name is wrong."""


class DatasetError(DlcvError):
    """Images, labels or a dataset description do not fit together."""


class CheckpointError(DlcvError):
    """A checkpoint is missing, damaged or of another model."""


class CardError(DlcvError):
    """A file carries no model card, or one that cannot be read."""


class EngineError(DlcvError):
    """An engine file cannot be run."""


class PlanError(EngineError):
    """A TensorRT plan does not fit this machine."""


class PrecisionError(EngineError):
    """A session would compute in another precision than the card says or was asked for."""


class OutOfMemory(EngineError):
    """A batch does not fit into the memory of the GPU or the machine; a smaller one may."""


class SessionLost(EngineError):
    """A session broke or hung, and could not be opened anew."""


class ExportError(DlcvError):
    """A graph or a plan cannot be made."""


class OutputError(DlcvError):
    """Results cannot be written."""


class MissingPackageError(DlcvError):
    """An optional package is needed.

    Args:
        package: what cannot be imported.
        purpose: what it is needed for, as the end of "... is needed to".
        command: the command that installs it.
    """

    def __init__(self, package: str, purpose: str, command: str) -> None:
        super().__init__(f"{package} is needed to {purpose}; install it with: {command}")
        self.package = package


class VerdictError(DlcvError):
    """The work was done and the verdict is no."""

    exit_code = EXIT_INCOMPLETE


class Interrupted(DlcvError):
    """Ctrl-C: what was finished is whole, and the work can be resumed."""

    exit_code = EXIT_INTERRUPTED


class TileError(DlcvError):
    """One tile cannot be read or fitted; the run goes on without it."""


def one_line(text: object) -> str:
    """`text` as a single physical line: line breaks and other control characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in str(text)
    )


def reason_of(error: BaseException) -> str:
    """What an exception of Python or a library says, as one line; in words where it says nothing."""
    if isinstance(error, EOFError) and not str(error):
        return "it ends too early"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    return one_line(error) or f"a {type(error).__name__}, and no more is known"
