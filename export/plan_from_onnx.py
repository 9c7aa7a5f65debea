"""ONNX graph -> TensorRT plan that carries the model card, with full TensorRT 8.6 to 11 or TensorRT-RTX.

TensorRT-RTX builds ahead of time on a machine without a GPU; full TensorRT builds on the GPU that will run the plan.
The graph's own types decide the precision (TensorRT 8.6, which has no such thing, builds float32 only). Of what is left
under the final name, header and card have been read back from the plan's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.card import ModelCard
from dlcv.runtime.card_reader import PLAN_PREFIX, read_card
from dlcv.runtime.errors import DlcvError, ExportError, MissingPackageError, UsageError
from dlcv.runtime.files import sha256_of, whole_file
from dlcv.runtime.plan_header import INSTALL, LABELS, RTX_GPUS, RTX_TARGETS, PlanHeader, read_plan_header
from dlcv.runtime.sessions.cuda import driver_problem, gpu_name_and_capability
from dlcv.runtime.sessions.trt_library import TrtLibrary, find_library

BUILDERS = ("auto", "tensorrt", "tensorrt-rtx")
INPUT = "image"
MAX_NAME = 4095
"""Characters that TensorRT keeps as a network's name; a longer one is refused without a word."""


@dataclass(frozen=True)
class Builder:
    """A TensorRT library that can build here.

    Attributes:
        kind: `tensorrt` or `tensorrt-rtx`.
        library: the imported library.
        sentence: which one it is and why, for people.
    """

    kind: str
    library: TrtLibrary
    sentence: str

    @property
    def label(self) -> str:
        return f"{LABELS[self.kind]} {self.library.version}"


@dataclass(frozen=True)
class PlanReport:
    """A plan that was built.

    Attributes:
        path: of the plan.
        header: as read back from its bytes: builder, version, compute capabilities.
        card: as read back from its bytes.
        warnings: TensorRT's, one line each.
        sentence: what was built, for which GPUs, and which ones it does not cover.
    """

    path: Path
    header: PlanHeader
    card: ModelCard
    warnings: tuple[str, ...]
    sentence: str


def find_builder(name: str = "auto") -> Builder:
    """The TensorRT library to build with.

    Args:
        name: `tensorrt`, `tensorrt-rtx`, or `auto`: full TensorRT where it imports and a GPU is there, else
            TensorRT-RTX.

    Raises:
        UsageError: for another name.
        MissingPackageError: when the library asked for, or any, is not installed.
        ExportError: when full TensorRT is asked for on a machine without a GPU.
    """
    if name not in BUILDERS:
        raise UsageError(f"unknown builder {name!r}; known: {', '.join(BUILDERS)}")
    if name == "tensorrt-rtx":
        return _rtx("as asked")
    full, missing = find_library("tensorrt")
    problem = driver_problem()
    if full is not None and not problem:
        return _chosen(
            "tensorrt", full, "as asked" if name == "tensorrt" else "since it is installed and a GPU is there"
        )
    if name == "auto":
        return _rtx(
            f"since full TensorRT {missing}"
            if full is None
            else f"since full TensorRT builds on a GPU and this machine has {problem}"
        )
    if full is None and missing == "is not installed":
        raise MissingPackageError("tensorrt", "build a plan with full TensorRT", INSTALL["tensorrt"])
    if full is None:
        raise ExportError(f"tensorrt {missing}; install it again with: {INSTALL['tensorrt']}")
    raise ExportError(
        f"full TensorRT builds on the GPU that will run the plan, and this machine has {problem}; "
        "build there, or here with: --builder tensorrt-rtx"
    )


def plan_from_onnx(
    onnx_path: Path,
    plan_path: Path,
    *,
    card: ModelCard,
    max_batch: int,
    optimum_batch: int,
    builder: str = "auto",
    workspace_mib: int | None = None,
    compute_capabilities: Sequence[str] | None = None,
    tf32: bool = False,
    progress: Callable[[str], None] | None = None,
) -> PlanReport:
    """Builds a plan, whole or not at all.

    Args:
        onnx_path: a graph of this project: input `image`, uint8 (n, H, W, 3), n dynamic.
        plan_path: of the plan; an older one is replaced once the new one is proven.
        card: of the graph. The plan's also holds the graph's hash, `max_batch` and what built it.
        max_batch: the largest batch that the plan will take; the smallest is 1.
        optimum_batch: the batch that it is tuned for, 1 to `max_batch`.
        builder: see `find_builder`.
        workspace_mib: scratch memory that TensorRT may use, in MiB; None leaves it to TensorRT.
        compute_capabilities: targets of a TensorRT-RTX plan, such as `("8.6", "8.9")`; None for its own choice.
        tf32: whether float32 convolutions may be computed in TF32 (10 bits of mantissa).
        progress: takes a line as each phase begins.

    Raises:
        ExportError: when the graph or the card does not fit, or TensorRT cannot build it.
        MissingPackageError: when no builder is installed.
        UsageError: for arguments out of range.
        OutputError: when the plan cannot be written.
    """
    if not 1 <= optimum_batch <= max_batch:
        raise UsageError(
            f"expected batches with 1 <= optimum <= maximum, got {optimum_batch} and {max_batch}; change --max-batch"
        )
    chosen, tell = find_builder(builder), progress or (lambda text: None)
    tell(chosen.sentence)
    work = _Build(chosen, Path(onnx_path), _plan_card(card, Path(onnx_path), chosen, max_batch))
    tell(f"reading {onnx_path}")
    work.parse()
    work.configure(optimum_batch, workspace_mib, tf32, compute_capabilities)
    tell(f"compiling for batches of 1 to {max_batch}")
    plan = work.compile()
    tell("reading the plan back")
    with whole_file(Path(plan_path)) as temporary:
        with open(temporary, "wb") as file:
            file.write(plan)
        header, found = _read_back(temporary, Path(plan_path), chosen, work.card, compute_capabilities)
    return PlanReport(Path(plan_path), header, found, tuple(chosen.library.log.warnings), _sentence(header, chosen))


class _Build:
    """One build: builder, network and config of TensorRT, which must live until the plan is compiled."""

    def __init__(self, builder: Builder, onnx_path: Path, card: ModelCard) -> None:
        self.card, self._path, self._label, self._library = card, onnx_path, builder.label, builder.library
        self._trt, self._log = builder.library.module, builder.library.log
        self._log.clear()
        if card.precision != "fp32" and not self._library.strongly_typed:
            raise ExportError(
                f"TensorRT {self._library.version} takes no precision from the graph, and this one is "
                f"{card.precision}; "
                "export it with --precision fp32, or build with TensorRT 10 or newer"
            )
        self._builder = self._trt.Builder(self._log)
        self._network = self._builder.create_network(self._library.network_flags)
        self._config = self._builder.create_builder_config()

    def parse(self) -> None:
        """Reads the graph, checks its input against the card and names the network after the card."""
        parser = self._trt.OnnxParser(self._network, self._log)
        if not parser.parse_from_file(str(self._path)):
            raise ExportError(f"{self._label} cannot read {self._path}: {_parser_error(parser, self._log)}")
        found = {
            tensor.name: tuple(tensor.shape) for tensor in map(self._network.get_input, range(self._network.num_inputs))
        }
        expected = {INPUT: (-1, *self.card.input_size_hw, 3)}
        if found != expected:
            raise ExportError(
                f"{self._path} has the inputs {found}, expected {expected} (-1 is the batch); export the graph again"
            )
        name = PLAN_PREFIX + self.card.to_json()
        self._network.name = name
        if self._network.name != name:
            raise ExportError(
                f"the model card is {len(name)} characters long as JSON, and a plan holds at most {MAX_NAME}; "
                "use fewer classes or shorter class names"
            )

    def configure(
        self, optimum_batch: int, workspace_mib: int | None, tf32: bool, capabilities: Sequence[str] | None
    ) -> None:
        """Sets the batch profile, TF32, the workspace and the targets."""
        trt, config = self._trt, self._config
        profile = self._builder.create_optimization_profile()
        profile.set_shape(
            INPUT, *((batch, *self.card.input_size_hw, 3) for batch in (1, optimum_batch, self.card.max_batch))
        )
        if config.add_optimization_profile(profile) < 0:
            raise ExportError(
                f"{self._label} refuses batches of 1 to {self.card.max_batch}: {self._log.last_error()}; "
                "pass a smaller --max-batch"
            )
        (config.set_flag if tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
        if workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
        if self._library.name == "tensorrt" and self._library.major < 10:
            # As TensorRT 10 does by itself: no tactics from cuBLAS and cuDNN, so that the plan needs neither to run.
            sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
            config.set_tactic_sources(sum(1 << int(source) for source in sources))
        if capabilities is not None:
            self._set_targets(capabilities)

    def _set_targets(self, capabilities: Sequence[str]) -> None:
        if not self._library.is_rtx:
            raise UsageError(
                "full TensorRT builds for the GPU of this machine; "
                "compute capabilities can be chosen with: --builder tensorrt-rtx"
            )
        unknown = [capability for capability in capabilities if capability not in RTX_TARGETS]
        if unknown or not capabilities:
            raise UsageError(
                f"TensorRT-RTX builds for compute capability {', '.join(RTX_TARGETS)}, not for "
                f"{', '.join(unknown) or 'none'}"
            )
        wanted = sorted(set(capabilities), key=RTX_TARGETS.index)
        self._config.num_compute_capabilities = len(wanted)
        for index, capability in enumerate(wanted):
            self._config.set_compute_capability(
                getattr(self._trt.ComputeCapability, "SM" + capability.replace(".", "")), index
            )

    def compile(self) -> Any:
        """The plan's bytes, as a buffer."""
        plan = self._builder.build_serialized_network(self._network, self._config)
        if plan is None:
            reason = self._log.last_error()
            remedy = (
                "pass a smaller --max-batch or a larger --workspace-mib"
                if "memory" in reason.lower()
                else "export the graph again"
            )
            raise ExportError(f"{self._label} cannot build {self._path}: {reason}; {remedy}")
        return plan


def _rtx(why: str) -> Builder:
    library, missing = find_library("tensorrt_rtx")
    if library is not None:
        return _chosen("tensorrt-rtx", library, why)
    if missing != "is not installed":
        raise ExportError(f"tensorrt_rtx {missing}; install it again with: {INSTALL['tensorrt-rtx']}")
    raise MissingPackageError(
        "a TensorRT builder",
        "make a plan",
        f"{INSTALL['tensorrt-rtx']} (also on a machine without a GPU), or on the GPU machine that will run the plan: "
        f"{INSTALL['tensorrt']}",
    )


def _chosen(kind: str, library: TrtLibrary, why: str) -> Builder:
    return Builder(kind, library, f"building with {LABELS[kind]} {library.version}, {why}")


def _plan_card(card: ModelCard, onnx_path: Path, builder: Builder, max_batch: int) -> ModelCard:
    versions = dict(card.versions) | {builder.library.name: builder.library.version}
    if builder.kind == "tensorrt":  # its header does not name the GPU, and the plan runs on no other
        versions["compute_capability"] = gpu_name_and_capability()[1]
    try:
        return card.changed(onnx_sha256=sha256_of(onnx_path), max_batch=max_batch, versions=versions)
    except OSError as error:
        raise ExportError(f"{onnx_path} cannot be read: {error.strerror}; export the graph first") from error


def _parser_error(parser: Any, log: Any) -> str:
    if parser.num_errors == 0:
        return str(log.last_error())
    error = parser.get_error(0)
    # Without a driver, TensorRT-RTX adds a line about that to each error, which has nothing to do with the graph.
    reason = " ".join(" ".join(line for line in error.desc().splitlines() if "cudaError 35" not in line).split())
    if error.node() < 0:
        return reason
    # 8.6 numbers the node only; later versions also name it.
    known = [getattr(error, attribute)() for attribute in ("node_name", "node_operator") if hasattr(error, attribute)]
    return " ".join([f"node {error.node()}", *(part for part in known if part)]) + f": {reason}"


def _read_back(
    temporary: Path, plan_path: Path, builder: Builder, card: ModelCard, capabilities: Sequence[str] | None
) -> tuple[PlanHeader, ModelCard]:
    """Header and card from the plan's bytes, compared with what was asked for."""
    try:
        header, found = read_plan_header(temporary), read_card(temporary)
    except DlcvError as error:
        raise ExportError(f"{plan_path}: what {builder.label} built cannot be read back: {error}") from error
    wrong = []
    if header.kind != builder.kind:
        wrong.append(f"kind {header.kind}, expected {builder.kind}")
    if header.version.split(".")[:3] != builder.library.version.split(".")[:3]:
        wrong.append(f"version {header.version}, expected {builder.library.version}")
    if capabilities is not None and set(header.compute_capabilities) != set(capabilities):
        wrong.append(
            f"compute capabilities {', '.join(header.compute_capabilities)}, expected {', '.join(capabilities)}"
        )
    if found != card:
        wrong.append("another model card")
    if wrong:
        raise ExportError(
            f"{plan_path}: read back from the plan's bytes: {'; '.join(wrong)}; "
            "this is a fault of dlcv or of the builder: report it"
        )
    return header, found


def _sentence(header: PlanHeader, builder: Builder) -> str:
    if header.kind == "tensorrt":
        name, capability = gpu_name_and_capability()
        return (
            f"built by {header.builder} for {name} (compute capability {capability}); it runs on no other kind of GPU"
        )
    missing = {target: gpus for target, gpus in RTX_GPUS.items() if target not in header.compute_capabilities}
    listed = ", ".join(f"{target} ({gpus})" for target, gpus in missing.items())
    covered = ", ".join(header.compute_capabilities)
    return f"built by {header.builder} for GPUs of compute capability {covered}; it does not run on {listed}"
