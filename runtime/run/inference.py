"""A folder of tiles through an engine: answers, manifest and summary. What `dlcv-infer` does, as one function.

The run is the same for every task. What differs, where an answer goes and when it is there already, stands in
`outputs/mask_folder.py` and `outputs/prediction_table.py`, behind the contract of `outputs/base.py`; overlays, polygons and the
like are put around these by `outputs/with_extras.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from dlcv.runtime.card.reader import kind_of
from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.outputs.chosen import chosen_output
from dlcv.runtime.progress import patience
from dlcv.runtime.provenance import check_engine
from dlcv.runtime.run.course import Course, Summary
from dlcv.runtime.run.engine import RunEngine
from dlcv.runtime.run.flow import Flow, Here, decoder_of, on_ray
from dlcv.runtime.run.flushing import require_flush
from dlcv.runtime.run.folder import RunFolder
from dlcv.runtime.run.rebuild import rebuild_if_needed
from dlcv.runtime.sessions import engine_card
from dlcv.runtime.tiles.listing import find_tiles, real_paths, source_folders
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.tile_list import TileList
from dlcv.runtime.work.dispatch import marked
from dlcv.runtime.work.settings import InferSettings, default_output, task_options

__all__ = ["InferSettings", "Summary", "default_output", "infer"]


def infer(settings: InferSettings, say: Callable[[str], None] = lambda _: None) -> Summary:
    """Runs all tiles; see `InferSettings`. `say` takes lines for people.

    Raises:
        UsageError: when there are no tiles, an option is of another task than the engine, or the output folder is in use or
            holds another run.
        EngineError, CardError: when the engine cannot be run.
        OutputError: when results cannot be written; what is there is whole.
        KeyboardInterrupt: after Ctrl-C; finished tiles are in the manifest.
    """
    settings = _settled(settings)
    if settings.engine.rebuild:
        rebuild_if_needed(settings.engine.path, say)
    card = engine_card(settings.engine.path, device=settings.engine.device)
    options = task_options(settings, card) | {"gallery": settings.outputs.gallery or None}
    looks = Looks(keep=settings.resume)
    found = find_tiles(settings.sources, leave_out=settings.output, say=say, looks=looks)
    tiles = marked(found, settings, card, say, looks)
    count = len(tiles) if tiles is found else None
    output = chosen_output(settings.output, card, tiles, options, str(settings.engine.path))
    _refuse_to_overwrite_inputs(settings, tiles, output)
    with ExitStack() as stack:
        engine = RunEngine(settings, card, stack)
        # before the folder, so that an engine that does not open costs no earlier run; a resumed one may not need it at all,
        # but what the engine must prove is checked always
        session = None
        if settings.ray is not None:
            _join_ray(settings, stack)
        elif not settings.resume or settings.engine.trust.with_environment().asks:
            with patience(f"opening {settings.engine.path.name}", say, quiet=settings.quiet):
                session = engine.opened()
        identity = engine.identity = _identity(settings, options)
        folder = RunFolder(
            settings.output, identity, resume=settings.resume, overwrite=settings.overwrite, kinds=output.kinds
        )
        stack.enter_context(folder)

        def flow() -> Flow:
            if settings.ray is None:
                decoder = stack.enter_context(decoder_of(settings))
                return Here(settings, session or engine.opened(), output, decoder, count)
            return on_ray(settings, card, options, identity["engine_sha256"], count, say)

        return Course(settings, folder, tiles, output, looks, say).run(flow)


def _settled(settings: InferSettings) -> InferSettings:
    """The settings, where they fit together; with Ray, whose workers have working folders of their own, with absolute paths."""
    if settings.fsync:
        if settings.ray not in (None, "local"):
            raise UsageError("--fsync: of this machine only, and --ray writes on others too; leave it out")
        require_flush()
    if settings.ray is None:
        if settings.ray_workers is not None:
            raise UsageError("--ray-workers says how --ray is done; add --ray, or leave it out")
        return settings
    if settings.isolate:
        raise UsageError(
            "--isolate: Ray's workers are processes already, and one that ends costs its tile; leave it out"
        )
    from dlcv.runtime.distributed.flow import absolute

    return absolute(settings)


def _join_ray(settings: InferSettings, stack: ExitStack) -> None:
    from dlcv.runtime.distributed.cluster import joined

    assert settings.ray is not None
    check_engine(settings.engine.path, kind_of(settings.engine.path), settings.engine.trust)
    if not settings.resume:
        stack.enter_context(joined(settings.ray))


def _refuse_to_overwrite_inputs(settings: InferSettings, tiles: TileList, output: Output[Any]) -> None:
    folder = os.path.realpath(settings.output)
    engine = os.path.realpath(settings.engine.path)
    inside = {*real_paths(tiles, folder), *([engine] if engine.startswith(folder + os.sep) else [])}
    if not inside:
        return
    for name, what in output.names():
        if os.path.join(folder, name) in inside:
            raise UsageError(
                f"{what} would be written over an input, {settings.output / name}; choose another folder with --output"
            )


def _identity(settings: InferSettings, options: dict[str, Any]) -> dict[str, Any]:
    """What makes an answer what it is: a resumed run must agree in all of it."""
    return {
        "folders": source_folders(settings.sources),
        "engine_sha256": sha256_of(settings.engine.path),
        "compute": settings.engine.compute,
        **options,
        "scale_16bit": list(settings.decode.scale_16bit) if settings.decode.scale_16bit else None,
    }
