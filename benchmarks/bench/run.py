"""A run of `dlcv-bench`: every group is opened once, and each of its batches measured in every way that is asked for."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.bench import baselines, fresh, roofline
from dlcv.benchmarks.bench.baselines import Opened, Work, open_baselines
from dlcv.benchmarks.bench.cases import Group, groups_of
from dlcv.benchmarks.bench.cuda_events import NOT_ON_A_CPU
from dlcv.benchmarks.bench.environment import environment, load
from dlcv.benchmarks.bench.files import SERIAL, InferPipeline, fresh_folder, infer_settings, serial_loop
from dlcv.benchmarks.bench.measure import CRITERION, WINDOW, Effort, Measured, Way, interleaved, timed
from dlcv.benchmarks.bench.nvml import Gpu, find_gpu, watched
from dlcv.benchmarks.bench.result import (
    AGAIN,
    COLD,
    DEVICE,
    FILES,
    FIRST,
    HOST,
    OURS,
    Case,
    Engine,
    Lane,
    Result,
    Timing,
)  # fmt: skip
from dlcv.benchmarks.bench.roofline import engine_multiply_adds
from dlcv.runtime.card_reader import kind_of
from dlcv.runtime.errors import DlcvError, EngineError, reason_of
from dlcv.runtime.files import sha256_of
from dlcv.runtime.provenance import Trust, check_engine
from dlcv.runtime.sessions import Session, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]

MEASURES = ("host", "files", "cold", "roofline")
"""What can be asked for; device-only time comes with `host`, the first call and peak memory with `cold`."""
SCENES = 8
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        engines: files.
        devices, sessions, computes: see `open_session`; every combination.
        batches: images a call.
        measures: of `MEASURES`.
        baselines: of `baselines.BASELINES`.
        data: a folder of tiles; None: generated ones of the engine's size.
        tiles: how many of them, file to file.
        checkpoint: with the weights for torch.
        effort: see `measure.Effort`.
        processes: of their own, of each kind, for the cold start.
        trust: what the engines must prove.
        budget_s: no case begins that would probably end later, in seconds from the start; None: all are measured.
    """

    engines: tuple[Path, ...]
    devices: tuple[str, ...] = ("auto",)
    sessions: tuple[str, ...] = ("auto",)
    computes: tuple[str, ...] = ("card",)
    batches: tuple[int, ...] = (1,)
    measures: tuple[str, ...] = MEASURES
    baselines: tuple[str, ...] = ("bare", "torch", "serial")
    data: Path | None = None
    tiles: int = 16
    checkpoint: Path | None = None
    effort: Effort = field(default_factory=Effort)
    processes: int = 5
    trust: Trust = field(default_factory=Trust)
    budget_s: float | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON values; files by name, since a result is sent around."""
        names = {"engines": [path.name for path in self.engines], "data": self.data.name if self.data else None}
        given = {
            name: list(getattr(self, name))
            for name in ("devices", "sessions", "computes", "batches", "measures", "baselines")
        }
        effort = {"effort": asdict(self.effort), "warm_up": CRITERION}
        return (
            names
            | given
            | effort
            | {"tiles": self.tiles, "processes": self.processes, "checkpoint": self.checkpoint is not None}
        )


def run_bench(request: Request, command: Sequence[str] = (), say: Say = lambda _: None) -> Result:
    """Measures; see `Request`.

    Args:
        request: what.
        command: that was typed, for the result.
        say: takes lines for people.

    Raises:
        DlcvError: when no case at all could be measured: the first one's reason.
    """
    gpu, no_gpu = find_gpu()
    facts = environment(command, gpu)
    errors: dict[str, DlcvError] = {}
    cases: dict[tuple[Any, ...], Case] = {}
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(request, Path(scratch), gpu, no_gpu, say)
        for group in groups_of(request.engines, request.devices, request.sessions, request.computes):
            try:
                for case in bench.measure(group):
                    cases.setdefault(case.key, case)  # `auto` may be what was named as well
            except DlcvError as error:
                errors[group.label] = error
                say(f"{group.label} is left out: {error}")
    if gpu:
        gpu.close()
    left_out = {label: str(error) for label, error in errors.items()} | bench.left_out
    if not cases:
        raise next(iter(errors.values()), None) or EngineError("nothing was measured: " + "; ".join(left_out.values()))
    return Result(facts | {"load_after": load()}, request.facts(), tuple(cases.values()), left_out)


class _Bench:
    """What the groups of a run share."""

    def __init__(self, request: Request, scratch: Path, gpu: Gpu | None, no_gpu: str, say: Say) -> None:
        self._request, self._scratch, self._gpu, self._no_gpu, self._say = request, scratch, gpu, no_gpu, say
        self.left_out: dict[str, str] = {}
        self._start = time.perf_counter()

    def measure(self, group: Group) -> Iterator[Case]:
        """The cases of a group; raises DlcvError when its engine cannot be opened."""
        request = self._request
        data = check_engine(group.path, kind_of(group.path), request.trust)
        how = {"device": group.device, "session": group.session, "compute": group.compute, "trust": request.trust}
        with ExitStack() as stack:
            ours, again = (stack.enter_context(open_session(group.path, **how)) for _ in range(2))  # type: ignore[arg-type]
            library = library_of(ours)
            work = Work(
                group.path, data, ours.card, library, ours.device, group.compute, ours.computes, request.checkpoint
            )
            engine, uncounted = _engine(group, ours)
            opened = open_baselines(request.baselines, work, stack)
            took_s, expected_s = 0.0, 0.0
            last: Case | None = None
            for batch in request.batches:
                label = f"{group.label}, batch {batch}"
                if ours.max_batch is not None and batch > ours.max_batch:
                    self.left_out[label] = f"the engine takes batches of at most {ours.max_batch}"
                    continue
                if last is not None:
                    expected_s = max(took_s, self._least_s(last, batch))
                if self._late(expected_s):
                    self.left_out[label] = f"it would not end within the {request.budget_s:.0f} s that are allowed"
                    continue
                self._say(f"measuring {label}")
                start = time.perf_counter()
                case = Case(engine, ours.device, library, ours.computes, batch, ours.description)
                last = self._filled(case, group, work, (ours, again), opened, uncounted)
                took_s = time.perf_counter() - start
                yield last

    def _late(self, seconds: float) -> bool:
        """Whether what takes so long would end after the budget."""
        budget = self._request.budget_s
        return budget is not None and time.perf_counter() - self._start + seconds > budget

    def _least_s(self, last: Case, batch: int) -> float:
        """What a batch takes at least, by the images of the batch before: the fewest rounds and the shortest warm-up of each way."""
        if HOST not in last.timings or OURS not in (lanes := last.timings[HOST].lanes):
            return 0.0
        call_s = median(lanes[OURS].samples_ms) / 1000 * batch / last.batch
        return call_s * len(lanes) * (self._request.effort.pairs + 2 * WINDOW)

    def _filled(
        self, case: Case, group: Group, work: Work, sessions: tuple[Session, Session], opened: Opened, uncounted: str
    ) -> Case:
        measures = self._request.measures
        if "host" in measures:
            case = self._with_host(case, sessions, opened)
        if "files" in measures:
            case = self._with_files(case, group, opened)
        if "cold" in measures and self._request.processes:
            case = self._with_processes(case, group, work)
        if "roofline" in measures:
            case = self._with_roofline(case, work, sessions[0], opened, uncounted)
        return case

    def _with_host(self, case: Case, sessions: tuple[Session, Session], opened: Opened) -> Case:
        """Host-to-host and device-only time, with the GPU watched meanwhile."""
        images, effort = _images(case), self._request.effort
        with watched(self._gpu) as readings:
            ways = {name: timed(_on(session.run, images)) for name, session in zip((OURS, AGAIN), sessions)}
            ways |= {name: timed(_on(run, images)) for name, run in opened.runs().items()}
            host = interleaved(ways, effort, must=OURS)
            on_device = {one.name: _on(one.device_s, images) for one in opened.baselines if one.device_s}
            device = interleaved(on_device, effort)
        case = _with_timing(case, HOST, host, opened.missing)
        if device.lanes:
            case = _with_timing(case, DEVICE, device)
        elif device.missing:
            case = _missing(case, DEVICE, "; ".join(device.missing.values()))
        elif case.device == "cpu":
            case = _missing(case, DEVICE, NOT_ON_A_CPU)
        else:
            why = next((one.no_device_s for one in opened.baselines if one.no_device_s), "")
            case = _missing(case, DEVICE, why or "it is measured in the bare library: add bare to --baselines")
        if readings.power_w and case.device == "cuda":
            return replace(case, gpu=readings.facts())
        return _missing(case, "power and clocks", self._no_gpu if case.device == "cuda" else "of a GPU only")

    def _with_files(self, case: Case, group: Group, opened: Opened) -> Case:
        """File to file, with the stages of our pipeline."""
        paths = self._paths(case)
        how = {"device": case.device, "session": case.session, "compute": group.compute, "trust": self._request.trust}
        ways: dict[str, Way] = {}
        for name in (OURS, AGAIN):
            folder = self._scratch / name.replace(" ", "-")
            fresh_folder(folder)
            folder.rmdir()  # a run makes its own
            ways[name] = InferPipeline(infer_settings(paths, group.path, folder, case.batch, **how), len(paths))
        missing: dict[str, str] = {}
        if "serial" in self._request.baselines:
            if opened.baselines:
                from dlcv.runtime.card_reader import read_card

                loop = serial_loop(
                    paths, read_card(group.path), opened.baselines[0].run, fresh_folder(self._scratch / "serial")
                )
                ways[f"{SERIAL}, {opened.baselines[0].name}"] = _per_tile(timed(loop), len(paths))
            else:
                missing[SERIAL] = "it runs the engine in the bare library: add bare to --baselines"
        measured = interleaved(ways, self._request.effort, must=OURS)
        ours = ways[OURS]
        assert isinstance(ours, InferPipeline)
        return replace(_with_timing(case, FILES, measured, missing), stages_ms=ours.stages_ms())

    def _paths(self, case: Case) -> list[Path]:
        from dlcv.benchmarks.pipeline.scenes import tile_paths

        side = max(case.engine.input_size_hw)
        folder = self._scratch / f"tiles-{side}"
        if self._request.data is None and folder.exists():
            return sorted((folder / "train").glob("*_sat.jpg"))
        return tile_paths(self._request.data, folder, self._request.tiles, side)

    def _with_processes(self, case: Case, group: Group, work: Work) -> Case:
        """Cold start, first call and peak memory, ours and the bare library's in turn."""
        order = {"path": group.path, "batch": case.batch, "size_hw": case.engine.input_size_hw, "device": group.device}
        order |= {"session": group.session, "compute": group.compute} | vars(self._request.trust)
        programs = {OURS: (fresh.OURS, order)} | _bare_program(work, order)
        found: dict[str, list[fresh.Fresh]] = {name: [] for name in programs}
        missing: dict[str, str] = {}
        gpu = self._gpu if case.device == "cuda" else None
        for number in range(self._request.processes + 1):
            for name in random.Random(number).sample(list(found), len(found)):
                code, told = programs[name]
                try:
                    one = fresh.run_fresh(code, told, gpu)
                except EngineError as error:
                    if name == OURS:
                        raise
                    missing[name] = str(error)
                    del found[name]
                    continue
                if number:  # the first one reads the files from the disk
                    found[name].append(one)
        for kind, value in ((COLD, "cold_s"), (FIRST, "first_s")):
            lanes = {name: Lane(tuple(1000 * getattr(one, value) for one in all_)) for name, all_ in found.items()}
            case = replace(case, timings={**case.timings, kind: Timing(lanes, missing)})
        device_mb = tuple(one.device_mb for one in found[OURS] if one.device_mb is not None)
        if not device_mb:
            case = _missing(case, "device memory", self._no_gpu if case.device == "cuda" else "of a GPU only")
        peaks = {name: tuple(one.peak_mb for one in all_) for name, all_ in found.items()}
        return replace(case, host_peak_mb=peaks, device_peak_mb=device_mb)

    def _with_roofline(self, case: Case, work: Work, ours: Session, opened: Opened, uncounted: str) -> Case:
        """The engine and a matrix product in the same library, in turn."""
        if uncounted:
            return _missing(case, "roofline", uncounted)
        folder, product = self._scratch / "roofline", roofline.PRODUCTS[case.device]
        folder.mkdir(exist_ok=True)
        images, noise = _images(case), roofline.product_images(product)
        try:
            with ExitStack() as stack:
                name = f"product-{case.engine.precision}.onnx"
                path = roofline.product_graph(
                    folder / name, case.engine.precision, product, plan=case.session == "tensorrt"
                )
                session = open_session(path, device=case.device, session=case.session, compute=work.compute)
                stack.enter_context(session)
                ways, kind = (timed(_on(ours.run, images)), timed(_on(session.run, noise))), HOST
                bare = next((one for one in opened.baselines if one.device_s), None)
                if bare is not None and bare.device_s is not None:
                    of_product = replace(work, path=path, data=None, card=session.card, checkpoint=None)
                    (product_bare,) = open_baselines(("bare",), of_product, stack).baselines
                    assert product_bare.device_s is not None
                    ways, kind = (_on(bare.device_s, images), _on(product_bare.device_s, noise)), DEVICE
                engine_operations = 2 * case.engine.multiply_adds * case.batch
                product_operations, effort = 2 * product.multiply_adds, self._request.effort
                found = roofline.share_of(ways[0], engine_operations, ways[1], product_operations, kind, effort)
        except (DlcvError, ModuleNotFoundError, ValueError) as error:
            return _missing(case, "roofline", f"the matrix rate is not known: {reason_of(error)}")
        return replace(case, roofline=found)


def library_of(session: Session) -> str:
    """Which of `SESSIONS` opened it."""
    home = type(session).__module__.rpartition(".")[2]
    if home == "onnxrt":
        return "onnxruntime-tensorrt" if "TensorRT" in session.description else "onnxruntime"
    return {"trt": "tensorrt"}.get(home, home)


def _engine(group: Group, session: Session) -> tuple[Engine, str]:
    """The engine's facts, and why its multiply-adds are not known, empty where they are."""
    card, why = session.card, ""
    engine = Engine(
        group.name, card.model, card.task, card.precision, card.head, card.input_size_hw, sha256_of(group.path)
    )
    try:
        engine = replace(engine, multiply_adds=engine_multiply_adds(card, group.path))
    except (DlcvError, ModuleNotFoundError) as error:
        why = f"its operations are not known: {reason_of(error)}"
    return engine, why


def _images(case: Case) -> Images:
    """Generated scenes, `SCENES` of them over and over, uint8 (batch, H, W, 3); engines take the same time on any."""
    import numpy as np

    from dlcv.train.data.scenes import make_scene

    height, width = case.engine.input_size_hw
    scenes = [make_scene(0, index, max(height, width))[0][:height, :width] for index in range(min(case.batch, SCENES))]
    return np.ascontiguousarray(np.stack([scenes[index % SCENES] for index in range(case.batch)]))


def _bare_program(work: Work, order: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The bare library's program for a process of its own; none for TensorRT, nor where the file's bytes were checked, which it would
    read again."""
    if work.data is not None:
        return {}
    if work.session == "onnxruntime":
        tf32 = {"use_tf32": "1" if work.computes == "tf32" else "0"}
        provider = ("CUDAExecutionProvider", tf32) if work.device == "cuda" else ("CPUExecutionProvider", {})
        return {baselines.BARE["onnxruntime"]: (fresh.ONNXRUNTIME, order | {"providers": [provider]})}
    if work.session == "openvino":
        hint = {"fp16": "f16", "bf16": "bf16"}.get(work.compute, "f32")
        return {baselines.BARE["openvino"]: (fresh.OPENVINO, order | {"hint": hint})}
    return {}


def _with_timing(case: Case, kind: str, measured: Measured, missing: Mapping[str, str] | None = None) -> Case:
    timing = Timing(measured.lanes, dict(missing or {}) | measured.missing)
    return replace(case, timings={**case.timings, kind: timing})


def _missing(case: Case, what: str, why: str) -> Case:
    return replace(case, missing={**case.missing, what: why})


def _on(run: Callable[[Images], Any], images: Images) -> Callable[[], Any]:
    return lambda: run(images)


def _per_tile(way: Way, tiles: int) -> Way:
    return lambda: way() / tiles
