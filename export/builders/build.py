"""ONNX graph -> TensorRT plan that carries the model card, with full TensorRT 8.6 to 11 or TensorRT-RTX.

TensorRT-RTX builds ahead of time on a machine without a GPU; full TensorRT builds on the GPU that will run the plan.
The graph's own types decide the precision. TensorRT 8.6, which chooses types itself, is held to them layer by layer, and what it
built is held to them once more. Of what is left under the final name, header and card have been read back from the plan's bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlcv.export.builders.find import Builder, find_builder
from dlcv.export.builders.gpus import check_precision
from dlcv.export.builders.network import Build, check_opset
from dlcv.export.builders.options import BuildOptions
from dlcv.export.builders.plan_proof import PlanProof, least_share
from dlcv.export.builders.readback import read_back, sentence
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import AMPERE_PLUS, TF32, PlanHeader
from dlcv.runtime.errors import ExportError
from dlcv.runtime.files import sha256_of, whole_file
from dlcv.runtime.sessions.cuda import gpu_name_and_capability


@dataclass(frozen=True)
class PlanReport:
    """A plan that was built.

    Attributes:
        path: of the plan.
        header: as read back from its bytes: builder, version, compute capabilities.
        card: as read back from its bytes.
        warnings: TensorRT's, one line each.
        sentence: what was built, for which GPUs, and which ones it does not cover.
        ran: what its layers run in, in a line; empty of float32 where TensorRT chose the types.
        proof: of its precision.
    """

    path: Path
    header: PlanHeader
    card: ModelCard
    warnings: tuple[str, ...]
    sentence: str
    ran: str
    proof: PlanProof


def build_plan(
    onnx_path: Path,
    plan_path: Path,
    *,
    card: ModelCard,
    options: BuildOptions | None = None,
    timing_cache: Path | None = None,
    min_share: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> PlanReport:
    """Builds a plan, whole or not at all.

    Args:
        onnx_path: a graph of this project: input `image`, uint8 (n, H, W, 3), n dynamic, H and W too where the card says so.
        plan_path: of the plan; an older one is replaced once the new one is proven.
        card: of the graph. The plan's also holds the graph's hash, the largest batch and what built it.
        options: of the build; None takes the defaults.
        timing_cache: a file to keep measured tactics in, where the builder has such; None keeps none.
        min_share: of the multiply-adds that must be in the card's precision, 0..1; None takes that of `shares.MIN_SHARE`.
        progress: takes a line as each phase begins, and every few seconds of a long build.

    Raises:
        ExportError: when the graph or the card does not fit, or TensorRT cannot build it.
        VerdictError: when too little of the network, or of what was compiled, is in the card's precision.
        MissingPackageError: when no builder is installed.
        UsageError: for options that are out of range, or that this builder does not have.
        OutputError: when the plan cannot be written.
        KeyboardInterrupt: after Ctrl-C; nothing is left.
    """
    options, tell = options or BuildOptions(), progress or (lambda text: None)
    options.check()
    chosen = find_builder(options.builder)
    options.check_for(chosen.can, chosen.label)
    check_precision(chosen, options, card.precision)
    tell(chosen.sentence)
    work = Build(chosen, Path(onnx_path), _plan_card(card, Path(onnx_path), chosen, options), options)
    tell(f"reading {onnx_path}")
    check_opset(Path(onnx_path), chosen, tell)
    work.parse()
    least = least_share(card.precision, min_share)
    work.require_types(least)
    tell(work.card.proof)
    work.configure(timing_cache, tell)
    tell(f"compiling for batches of {options.min_batch} to {options.max_batch}{_sizes(card)}")
    plan = work.compile(tell)
    proof, ran = work.prove(plan, least)
    if ran:
        tell(ran)
    tell("reading the plan back")
    with whole_file(Path(plan_path)) as temporary:
        with open(temporary, "wb") as file:
            file.write(plan)
        header, found = read_back(temporary, Path(plan_path), chosen, work.card, options)
    warnings = tuple(chosen.library.log.warnings)
    return PlanReport(Path(plan_path), header, found, warnings, sentence(header, options), ran, proof)


def _sizes(card: ModelCard) -> str:
    return "" if card.size_range is None else f" and sizes of {card.size_range}"


def _plan_card(card: ModelCard, onnx_path: Path, builder: Builder, options: BuildOptions) -> ModelCard:
    versions = dict(card.versions) | {builder.library.name: builder.library.version}
    if not builder.can.chosen_gpus:  # its header does not name the GPU
        versions["compute_capability"] = AMPERE_PLUS if options.hardware_compatible else gpu_name_and_capability()[1]
    if options.version_compatible:
        versions["version_compatible"] = "yes"
    if options.tf32:
        versions[TF32] = "yes"
    try:
        return card.changed(onnx_sha256=sha256_of(onnx_path), max_batch=options.max_batch, versions=versions)
    except OSError as error:
        raise ExportError(f"{onnx_path} cannot be read: {error.strerror}; export the graph first") from error
