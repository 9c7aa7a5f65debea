"""A graph, a plan or checkpoints as a session. torch is imported only for checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlcv.runtime.card.reader import kind_of
from dlcv.runtime.errors import MissingPackageError, UsageError
from dlcv.runtime.provenance import Trust, check_file
from dlcv.runtime.sessions import Session, open_session


def kind_of_side(paths: Sequence[Path]) -> str:
    """What the files of one side are: see `card_reader.kind_of`.

    Raises:
        UsageError: for several files that are not all checkpoints.
        EngineError: when one is missing.
    """
    kinds = [kind_of(path) for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        if len(paths) > 1 and kind != "checkpoint":
            raise UsageError(f"{path} is no checkpoint ({kind}); only checkpoints are averaged, name it alone")
    return kinds[0]


def open_engine(
    paths: Sequence[Path],
    *,
    device: str = "auto",
    session: str = "auto",
    compute: str = "card",
    lanes: int = 1,
    trust: Trust | None = None,
) -> Session:
    """Opens an `.onnx`, a `.plan`, a checkpoint, or several checkpoints whose probabilities are averaged.

    Args:
        paths: the file, or the checkpoints.
        device, session, compute, lanes: see `open_session`; of checkpoints, which torch runs in float32, `device` alone.
        trust: likewise; of checkpoints, which run no code of theirs, each is checked where a hash or a signature is asked for.

    Raises:
        DlcvError: when it cannot be used, in words.
    """
    if kind_of_side(paths) != "checkpoint":
        return open_session(paths[0], device=device, session=session, compute=compute, lanes=lanes, trust=trust)
    if (session, compute) != ("auto", "card"):
        raise UsageError(
            f"{paths[0]} is a checkpoint and runs in torch in float32; --session and --compute are for engines"
        )
    for path in paths:
        check_file(path, trust or Trust())
    try:
        from dlcv.train.checkpoints.ensemble import open_checkpoints
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            str(error.name),
            f"run the checkpoint {paths[0]}",
            "pip install 'dlcv-edge[train]'; without torch, take the .reference.npz beside the export",
        ) from error
    return open_checkpoints(paths, device=device)
