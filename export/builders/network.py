"""TensorRT's network and configuration for one build: the graph read and checked, the card in its name, the options set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcv.export.builders.capabilities import OLDEST_OPSET
from dlcv.export.builders.failures import reason, remedy
from dlcv.export.builders.find import Builder
from dlcv.export.builders.graph_types import GraphTypes, graph_types
from dlcv.export.builders.kernel_types import kernel_operators
from dlcv.export.builders.layer_types import allow, hold, refuse_what_cannot_be, refuse_what_is_missing
from dlcv.export.builders.network_types import TypedLayer, executed_of, typed_layers
from dlcv.export.builders.options import BuildOptions
from dlcv.export.builders.plan_proof import PlanProof, card_sentence, known
from dlcv.export.builders.plan_types import executed_in, require_held, told
from dlcv.export.builders.timing import TimingCache
from dlcv.export.builders.watch import BuildWatch
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import RTX_TARGETS
from dlcv.runtime.card.reader import PLAN_PREFIX
from dlcv.runtime.errors import EngineError, ExportError, one_line
from dlcv.runtime.graphs.onnx_graph import read_onnx_graph
from dlcv.runtime.sessions.cuda import gpu_name_and_capability
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.trt_layers import INPUT

MAX_NAME = 4095
"""Characters that TensorRT keeps as a network's name; a longer one is refused without a word."""


class Build:
    """One build: builder, network and config of TensorRT, which must live until the plan is compiled."""

    def __init__(self, builder: Builder, onnx_path: Path, card: ModelCard, options: BuildOptions) -> None:
        self.card, self._path, self._options = card, onnx_path, options
        self._label, self._can, self._trt, self._log = (
            builder.label,
            builder.can,
            builder.library.module,
            builder.library.log,
        )
        self._log.clear()
        if self._chooses_types:
            refuse_what_cannot_be(card.precision, options, self._label)
        self._builder = self._trt.Builder(self._log)
        flag = getattr(self._trt.NetworkDefinitionCreationFlag, self._can.typed_flag or "", None)
        self._network = self._builder.create_network(0 if flag is None else 1 << int(flag))
        self._config = self._builder.create_builder_config()
        self._timing: TimingCache | None = None
        self._library, self._types = builder.library, GraphTypes({}, quantised=False)
        self._held: dict[str, str] = {}
        self._layers: tuple[TypedLayer, ...] = ()

    @property
    def _chooses_types(self) -> bool:
        """Whether TensorRT must be held to the graph's types, since it would not keep to them by itself."""
        return self.card.precision != "fp32" and not self._can.typed_by_graph

    def parse(self) -> None:
        """Reads the graph, checks its input against the card, names the network after the card and holds its layers to the graph."""
        parser = self._trt.OnnxParser(self._network, self._log)
        if not parser.parse_from_file(str(self._path)):
            raise ExportError(f"{self._label} cannot read {self._path}: {_parser_error(parser, self._log)}")
        found = {
            tensor.name: tuple(tensor.shape) for tensor in map(self._network.get_input, range(self._network.num_inputs))
        }
        sides = (-1 if low != high else low for low, high in zip(*_size_bounds(self.card)))
        expected = {INPUT: (-1, *sides, 3)}
        if found != expected:
            raise ExportError(
                f"{self._path} has the inputs {found}, expected {expected} (-1 varies; the first is the batch); export the graph again"
            )
        if self._can.typed_by_graph:
            image = self._network.get_input(0)
            self._layers = typed_layers(self._trt, self._network, image, (1, *self.card.input_size_hw, 3))
        proof = card_sentence(self._network_types, self.card.precision, self.card.proof)
        self.card = self.card.changed(proof=proof)
        name = PLAN_PREFIX + self.card.to_json()
        self._network.name = name
        if self._network.name != name:
            raise ExportError(
                f"the model card is {len(name)} characters long as JSON, and a plan holds at most {MAX_NAME}; "
                "use fewer classes or shorter class names"
            )
        if self._chooses_types:
            self._types = graph_types(self._path)
            refuse_what_is_missing(self._builder, self._types, self.card.precision, self._label)
            self._held = hold(self._trt, self._network, self._types)

    def configure(self, timing_cache: Path | None, say: Callable[[str], None]) -> None:
        """Sets profile, TF32, workspace, compatibility, targets, what the inspector may tell, and the timing cache."""
        trt, config, options = self._trt, self._config, self._options
        self._set_profile()
        # Without it the inspector names layers only, and a session could not prove what precision they run in.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        (config.set_flag if options.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
        allow(trt, config, self._types)
        if self._can.asks_to_share:
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if self._can.outer_tactics:
            # As TensorRT 10 does by itself: no tactics from cuBLAS and cuDNN, so that the plan needs neither to run.
            sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
            config.set_tactic_sources(sum(1 << int(source) for source in sources))
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
            # Without the lean runtime inside, which is host code: the reader brings its own.
            config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
        if options.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.compute_capabilities:
            self._set_targets()
        if timing_cache is not None and self._can.timing_cache:
            self._timing = TimingCache(timing_cache, config, self._log, say)

    def _set_profile(self) -> None:
        card, batches = self.card, self._options.batches
        smallest, largest = _size_bounds(card)
        profile = self._builder.create_optimization_profile()
        profile.set_shape(
            INPUT, *((batch, *size, 3) for batch, size in zip(batches, (smallest, card.input_size_hw, largest)))
        )
        if self._config.add_optimization_profile(profile) < 0:
            raise ExportError(
                f"{self._label} refuses batches of {batches[0]} to {batches[2]}: {self._log.last_error()}; "
                "pass a smaller --max-batch"
            )

    def _set_targets(self) -> None:
        wanted = sorted(set(self._options.compute_capabilities), key=RTX_TARGETS.index)
        self._config.num_compute_capabilities = len(wanted)
        for index, capability in enumerate(wanted):
            self._config.set_compute_capability(
                getattr(self._trt.ComputeCapability, "SM" + capability.replace(".", "")), index
            )

    def compile(self, say: Callable[[str], None]) -> Any:
        """The plan's bytes, as a buffer.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            ExportError: with TensorRT's reason and what to do.
        """
        watch = BuildWatch(self._trt, monitored=self._can.progress, say=say)
        if watch.monitor is not None:
            self._config.progress_monitor = watch.monitor
        plan = watch.run(lambda: self._builder.build_serialized_network(self._network, self._config), self._label)
        if plan is None:
            errors = list(self._log.errors)
            todo = remedy(errors, self._options, sizes=self.card.size_range is not None, held=bool(self._held))
            raise ExportError(f"{self._label} cannot build {self._path}: {reason(errors)}; {todo}")
        if self._timing is not None:
            self._timing.save()
        return plan

    @property
    def _network_types(self) -> Executed | None:
        return executed_of(self._layers) if self._can.typed_by_graph else None

    def require_types(self, min_share: float) -> None:
        """Holds the parsed network to the card's precision, before the minutes of a build.

        Raises:
            VerdictError: when too little of it is in the precision.
        """
        PlanProof(self.card.precision, self._network_types, None, "", min_share).require()

    def prove(self, plan: Any, min_share: float) -> tuple[PlanProof, str]:
        """What is known of the plan's precision, and in a line what its layers run in; empty where it is float32 of 8.x.

        Args:
            plan: its bytes, as a buffer.
            min_share: of the multiply-adds that must be in the card's precision, 0..1.

        Raises:
            VerdictError: when a layer does not run in the graph's type, or too few are in the precision.
            ExportError: when TensorRT chose the types and does not tell them.
        """
        compiled, why_not = self._compiled(plan)
        proof = PlanProof(self.card.precision, self._network_types, compiled, why_not, min_share, self._options.tf32)
        if self._can.typed_by_graph:
            proof.require()
            return proof, proof.sentence()
        if not self._chooses_types or compiled is None:
            return proof, ""
        require_held(compiled, self._held, self.card.precision, tf32=self._options.tf32)
        return proof, told(compiled, self._held)

    def _compiled(self, plan: Any) -> tuple[Executed | None, str]:
        """What the plan's layers run in, and why that is not known."""
        if self._can.chosen_gpus:
            operators = kernel_operators(self._log.kernels, self._layers)
            return (Executed("kernels in the build log", operators), "") if operators else (None, "the build log lists no kernels")  # fmt: skip
        if not self._can.typed_by_graph and not self._chooses_types:
            return None, "no type below fp32 was allowed"
        by = f"{self._label} on {gpu_name_and_capability()[0]}"
        shape = (self._options.batches[1], *self.card.input_size_hw, 3)
        try:
            ran = executed_in(self._library, plan, shape, by)
        except (ExportError, AttributeError, TypeError, RuntimeError) as error:
            if self._chooses_types:
                raise
            # The network's types bind it: bindings that answer otherwise than those known are no reason to lose the plan.
            return None, one_line(error)
        operators = known(ran.operators) if self._can.typed_by_graph else ran.operators
        return (Executed(by, operators), "") if operators else (None, f"{by} tells no layer's type")


def check_opset(onnx_path: Path, builder: Builder, say: Callable[[str], None]) -> None:
    """Holds the graph's opset to what the builder reads, before the parser does what it can with another.

    Raises:
        ExportError: when it is too new or too old.
    """
    try:
        found = read_onnx_graph(onnx_path).opset.get("ai.onnx", 0)
    except EngineError:
        return  # the parser says what is wrong with it
    known = builder.opsets
    if known.newest is not None and found > known.newest:
        raise ExportError(
            f"{onnx_path} has opset {found}, above {known.newest}, the newest that {builder.label} reads; export it again with: "
            f"dlcv-export --model NAME --builder {builder.kind}"
        )
    if found < OLDEST_OPSET:
        raise ExportError(
            f"{onnx_path} has opset {found}, below {OLDEST_OPSET}, the oldest that TensorRT reads; export it again"
        )
    if found > known.surely:
        say(f"opset {found} is above {known.surely}, the newest that {builder.label} is known to read: trying")


def _size_bounds(card: ModelCard) -> tuple[tuple[int, int], tuple[int, int]]:
    """The smallest and the largest size, in pixels."""
    sizes = card.size_range
    return (card.input_size_hw, card.input_size_hw) if sizes is None else (sizes.min_hw, sizes.max_hw)


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
