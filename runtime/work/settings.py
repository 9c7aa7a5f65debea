"""What a run is asked to do, and what stands where the user left it open: by the engine's task and the machine."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import UsageError
from dlcv.runtime.fitting.tta import check_tta
from dlcv.runtime.isolate.wire import START_S
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.outputs.overlays import DEFAULT_ALPHA
from dlcv.runtime.outputs.overlays import DEFAULT_FORMAT as DEFAULT_PICTURE
from dlcv.runtime.outputs.prediction_table import DEFAULT_FORMAT, DEFAULT_TOP_K
from dlcv.runtime.pipeline.batch_size import automatic_batch, cpu_batch
from dlcv.runtime.pipeline.settings import DEFAULT_OVERLAP, PipelineSettings
from dlcv.runtime.provenance import Trust
from dlcv.runtime.records.output_names import DEFAULT_TEMPLATE
from dlcv.runtime.sessions import Session, engine_card
from dlcv.runtime.tiles.decode import DecodeOptions

TASK_OPTIONS = {
    "segmentation": (
        "fit", "window", "overlap", "blend", "bands", "tta", "name_template",
        "overlay", "alpha", "overlay_format", "confidence", "polygons", "simplify", "min_area", "areas",
    ),
    "classification": ("format", "top_k", "tta"),
}  # fmt: skip
"""Settings that a task has."""
PART_OF = {"alpha": "overlay", "overlay_format": "overlay", "simplify": "polygons", "min_area": "polygons"}
"""Settings that say how another one is done."""
DEFAULT_OUTPUT = {"segmentation": Path("masks"), "classification": Path("predictions")}


@dataclass(frozen=True)
class EngineSettings:
    """Which engine, and how it is opened.

    Attributes:
        path: of the engine: an `.onnx` or a `.plan`.
        device, session, compute: where, with which library, and in what a float32 graph may be computed: see `open_session`.
        trust: what the file must prove before a library opens it.
        rebuild: a plan that was built for another release or GPU is built anew from the graph beside it.
    """

    path: Path
    device: str = "auto"
    session: str = "auto"
    compute: str = "card"
    trust: Trust = field(default_factory=Trust)
    rebuild: bool = False

    def how(self) -> dict[str, Any]:
        """What `open_session` takes of it, by name."""
        return {"device": self.device, "session": self.session, "compute": self.compute, "trust": self.trust}


@dataclass(frozen=True)
class FittingSettings:
    """How a tile comes to the engine's size and its answer back.

    Attributes:
        fit: segmentation: see `fitting.py`; None takes the card's.
        window: segmentation: height and width that an engine of varying size is run at, in pixels; None takes the card's.
        overlap: segmentation: of windows, as a share of their side; None: 0.25.
        blend: segmentation: whether probabilities are blended where windows overlap; None: where the engine gives them.
        bands: segmentation: of TIFFs, numbers from 1, one or three; None: see `raster/bands.py`.
        tta: `none`, `flips` or `full`, see `tta.py`; None: `none`.
    """

    fit: str | None = None
    window: tuple[int, int] | None = None
    overlap: float | None = None
    blend: bool | None = None
    bands: tuple[int, ...] | None = None
    tta: str | None = None


@dataclass(frozen=True)
class OutputSettings:
    """What is written, and under which names.

    Attributes:
        name_template: segmentation: a mask's name, see `output_names.py`; None: `{path}.png`.
        format: classification: `csv` or `jsonl`; None: `csv`.
        top_k: classification: classes in a row, at least 1; None: 5. Of fewer classes, all.
        overlay: segmentation: the image with its classes in colour, beside each mask.
        alpha: of overlays: share of the colour, 0..1; None: 0.4.
        overlay_format: of overlays: `jpg` or `png`; None: `jpg`.
        confidence: segmentation: a map of the chosen class's probability beside each mask, and `confidence.csv`.
        polygons: segmentation: GeoJSON beside each mask.
        simplify: of polygons: how far a border may move, in pixels; None: not at all.
        min_area: of polygons: regions of fewer pixels are left out; None: none is.
        areas: segmentation: `areas.csv`.
        gallery: a page of thumbnails.
    """

    name_template: str | None = None
    format: str | None = None
    top_k: int | None = None
    overlay: bool | None = None
    alpha: float | None = None
    overlay_format: str | None = None
    confidence: bool | None = None
    polygons: bool | None = None
    simplify: float | None = None
    min_area: int | None = None
    areas: bool | None = None
    gallery: bool | None = None


@dataclass(frozen=True)
class InferSettings:
    """What a run was asked to do.

    Attributes:
        sources: files, folders, globs.
        output: folder of masks or predictions, manifest and summary.
        engine, fitting, outputs: see their classes.
        batch: windows at once; None: tried out on a GPU; on a CPU by `cpu_batch`.
        decoders, writers: threads; None: one a core.
        tile_timeout_s: a tile whose reading takes longer fails, in seconds; 0 waits for ever.
        session_timeout_s: when a batch takes longer the engine is opened anew, in seconds; 0 waits for ever.
        decode: limits and 16-bit scale.
        resume, overwrite: what to do with a run that the folder holds.
        fsync: what is written is flushed to the disk every few seconds and at the end; see `flushing.py`.
        quiet: no progress.
        isolate: tiles are decoded in processes of their own; see `isolate/`. Those that are read by windows are not.
        ray: the address of a Ray cluster that the tiles are run on, `auto` or `local`; None runs them in this process.
        ray_workers: of that cluster, each with a session; None: one a GPU, without GPUs one a machine.
    """

    sources: tuple[str, ...]
    output: Path
    engine: EngineSettings
    fitting: FittingSettings = field(default_factory=FittingSettings)
    outputs: OutputSettings = field(default_factory=OutputSettings)
    batch: int | None = None
    decoders: int | None = None
    writers: int | None = None
    tile_timeout_s: float = 60.0
    session_timeout_s: float = 600.0
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    resume: bool = False
    overwrite: bool = False
    fsync: bool = False
    quiet: bool = False
    isolate: bool = False
    ray: str | None = None
    ray_workers: int | None = None

    @classmethod
    def of(cls, *, engine: Path, **options: Any) -> InferSettings:
        """From options in one list, as a command has them: each goes to the group that knows its name.

        Args:
            engine: its path.
            options: attributes of this class and of its groups.
        """

        def taken(group: type[Any]) -> dict[str, Any]:
            return {one.name: options.pop(one.name) for one in fields(group) if one.name in options}

        engine_settings = EngineSettings(path=engine, **taken(EngineSettings))
        fitting, outputs = FittingSettings(**taken(FittingSettings)), OutputSettings(**taken(OutputSettings))
        return cls(engine=engine_settings, fitting=fitting, outputs=outputs, **options)


def default_output(engine: Path) -> Path:
    """The output folder where none is named: `masks` or `predictions`, by the engine's card.

    Raises:
        EngineError, CardError: when the file is no engine, or carries no card.
    """
    return DEFAULT_OUTPUT[engine_card(engine).task]


def task_options(settings: InferSettings, card: ModelCard) -> dict[str, Any]:
    """The settings that the engine's task alone has, with their defaults; what is not asked for is None, and a window is there only
    where it is not the card's own.

    Raises:
        UsageError: when one of another task was given, one that says how something is done that was not asked for, or the engine
            does not run at that window.
    """
    given = {name: value or None if isinstance(value, bool) else value for name, value in _given(settings).items()}
    _refuse_parts(given)
    for task, names in TASK_OPTIONS.items():
        other = set(names) - set(TASK_OPTIONS[card.task])
        typed = [f"--{name.replace('_', '-')}" for name in names if name in other and given[name] is not None]
        if typed:
            raise UsageError(
                f"{', '.join(typed)}: for {task} only, and {settings.engine.path} is a {card.task} model; leave it out"
            )
    defaults = {
        "fit": card.fit, "window": None, "overlap": DEFAULT_OVERLAP, "name_template": DEFAULT_TEMPLATE,
        "format": DEFAULT_FORMAT, "top_k": DEFAULT_TOP_K, "blend": True, "bands": None, "tta": "none",
    }  # fmt: skip
    refuse_without_probabilities(card, settings.engine.path, settings.fitting.blend, settings.fitting.tta)
    given["blend"] = settings.fitting.blend  # here False is said, and not left open
    if settings.fitting.bands is not None:
        given["bands"] = list(settings.fitting.bands)  # as JSON has it, which a resumed run is compared with
    if given["overlay"]:
        defaults |= {"alpha": DEFAULT_ALPHA, "overlay_format": DEFAULT_PICTURE}
    if given["polygons"]:
        defaults |= {"simplify": 0.0, "min_area": 0}
    values = {name: given[name] for name in TASK_OPTIONS[card.task]}
    chosen = {name: defaults.get(name) if value is None else value for name, value in values.items()}
    if "window" in chosen:
        chosen["window"] = list(card.at_size(settings.fitting.window, str(settings.engine.path)).input_size_hw)
        if chosen["window"] == list(card.input_size_hw):  # nothing else than without the option
            del chosen["window"]
    return chosen


def _given(settings: InferSettings) -> dict[str, Any]:
    return vars(settings.fitting) | vars(settings.outputs)


def _refuse_parts(given: dict[str, Any]) -> None:
    for part, whole in PART_OF.items():
        if given[part] is not None and not given[whole]:
            raise UsageError(f"--{part.replace('_', '-')} says how --{whole} is done; add --{whole}, or leave it out")


def refuse_without_probabilities(card: ModelCard, engine: Path, blend: bool | None, tta: str | None) -> None:
    """What averages probabilities is not for a graph that returns masks, nor quarter turns for windows that are not square; and a
    classifier has no windows to blend.

    Raises:
        UsageError: says what to pass, or how to export.
    """
    check_tta(tta or "none", card.input_size_hw)
    if blend and card.task == "classification":
        raise UsageError(f"--blend: for segmentation only, and {engine} is a {card.task} model; leave it out")
    asked = ["--blend"] * bool(blend) + [f"--tta {tta}"] * (tta not in (None, "none"))
    if asked and card.head == "mask":
        raise UsageError(
            f"{', '.join(asked)}: needs probabilities, and {engine} returns masks; export it with --head probs"
        )


def pipeline_settings(settings: InferSettings, session: Session, tiles: int | None = None) -> PipelineSettings:
    """Batch and threads, where the user left them open, from the session and the cores.

    On a CPU each core has a lane of the session (see `open_session`), and a thread that decodes and one that writes, which
    wait most of the time: the bounded queues hold back whoever is ahead, so that the cores go to the stage that is behind.

    Args:
        tiles: of the whole run, for the batch; None where each may be many windows.

    Raises:
        UsageError: when the batch is above what the engine was built for.
        EngineError: when the engine fails while the batch is tried out.
    """
    if settings.batch and session.max_batch and settings.batch > session.max_batch:
        raise UsageError(
            f"--batch {settings.batch} is above the {session.max_batch} that {settings.engine.path} was built for; pass a smaller one, or export with --max-batch {settings.batch}"
        )
    return PipelineSettings(
        batch=settings.batch or (cpu_batch(session, tiles) if session.device == "cpu" else automatic_batch(session)),
        decoders=settings.decoders or cpu_count(),
        writers=settings.writers or cpu_count(),
        fit=settings.fitting.fit,
        overlap=DEFAULT_OVERLAP if settings.fitting.overlap is None else settings.fitting.overlap,
        # a process that decodes is ended when its time is up; only then its thread, which may have to start one, could be late
        tile_timeout_s=(settings.tile_timeout_s and settings.tile_timeout_s + START_S * settings.isolate) or None,
        session_timeout_s=settings.session_timeout_s or None,
        blend=settings.fitting.blend is not False,
        tta=settings.fitting.tta or "none",
    )
