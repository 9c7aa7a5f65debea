"""How fast a session multiplies matrices, and how many operations an engine needs: the two sides of its roofline.

The matrix product is a graph like any other, a chain of 1 x 1 convolutions, which are products of (C, C) with (C, H x W), exported,
cast or quantized and opened as engines are. So its rate is that of the same library, device and precision, and what an engine does not
reach of it lies in its layers, not in the library's settings. Memory's bandwidth, the roof's other side (Williams et al. 2009), is not
measured: the products here and large convolutions are bound by arithmetic. Engine and product are measured in the same rounds, so that a
busy machine, which slows both, changes their rates and hardly the share.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.bench.baselines import open_baselines
from dlcv.benchmarks.bench.images import images_of
from dlcv.benchmarks.bench.measure import Effort, Way, interleaved, on, timed
from dlcv.benchmarks.bench.request import Running, Shared
from dlcv.benchmarks.bench.result import DEVICE, HOST, OURS, Case, Roofline, Timing
from dlcv.benchmarks.untrained import untrained_card
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import DlcvError, EngineError, reason_of
from dlcv.runtime.sessions import open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "matrix product"


@dataclass(frozen=True)
class Product:
    """`layers` products of (channels, channels) with (channels, side x side), for each image of a batch."""

    channels: int
    side: int
    layers: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return self.side**2 * (self.layers * self.channels**2 + 3 * self.channels) + 7 * self.channels


PRODUCTS = {"cpu": Product(512, 64, 2), "cuda": Product(2048, 128, 8)}
"""By device: large enough that what is not the product does not count, small enough for some calls a second."""
MOST = Effort(rounds=30, pairs=15, seconds=3.0, warm_up_s=2.0)
"""More tells no more of a share of two digits."""


def with_roofline(case: Case, running: Running, shared: Shared) -> Case:
    """The case with the share that the engine reaches of a matrix product in the same library, measured in turn."""
    if running.uncounted:
        return case.without("roofline", running.uncounted)
    product = PRODUCTS[case.device]
    operations, product_operations = 2 * case.engine.multiply_adds * case.batch, 2 * product.multiply_adds
    try:
        with ExitStack() as stack:
            engine_way, product_way, time = _ways(case, product, running, shared.scratch / "roofline", stack)
            effort = shared.request.effort
            found = share_of(engine_way, operations, product_way, product_operations, time, effort)
    except (DlcvError, ModuleNotFoundError, ValueError) as error:
        return case.without("roofline", f"the matrix rate is not known: {reason_of(error)}")
    return replace(case, roofline=found)


def _ways(case: Case, product: Product, running: Running, folder: Path, stack: ExitStack) -> tuple[Way, Way, str]:
    """A call of the engine and one of the product, and which time they give: the device's own where the bare library tells it."""
    folder.mkdir(exist_ok=True)
    images, noise, work = images_of(case), product_images(product), running.work
    name = f"product-{case.engine.precision}.onnx"
    path = product_graph(folder / name, case.engine.precision, product, plan=case.session == "tensorrt")
    session = open_session(path, device=case.device, session=case.session, compute=work.compute)
    stack.enter_context(session)
    bare = next((one for one in running.opened.baselines if one.device_s), None)
    if bare is None or bare.device_s is None:
        return timed(on(running.sessions[0].run, images)), timed(on(session.run, noise)), HOST
    of_product = replace(work, path=path, data=None, card=session.card, checkpoint=None)
    (product_bare,) = open_baselines(("bare",), of_product, stack).baselines
    assert product_bare.device_s is not None
    return on(bare.device_s, images), on(product_bare.device_s, noise), DEVICE


def share_of(
    engine: Way, operations: int, product: Way, product_operations: int, time: str, effort: Effort
) -> Roofline:
    """Measures both in turn.

    Args:
        engine, product: a call each, see `measure.Way`.
        operations, product_operations: of such a call, two a multiply-add.
        time: which time the calls give: a key of `result.KINDS`.
        effort: of the run; no more than `MOST` of each is taken.
    """
    least = Effort(**{name: min(value, getattr(MOST, name)) for name, value in vars(effort).items()})
    lanes = interleaved({OURS: engine, NAME: product}, least, must=OURS)
    if NAME in lanes.missing:
        raise EngineError(lanes.missing[NAME])
    pair = Timing(lanes.lanes).ratio(NAME, OURS)
    assert pair is not None
    low, median, high = (operations / product_operations * value for value in (pair.low, pair.median, pair.high))
    return Roofline(operations / pair.b_s, product_operations / pair.a_s, time, median, low, high, pair.pairs)


def product_images(product: Product) -> NDArray[np.uint8]:
    """uint8 (1, side, side, 3): noise."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (1, product.side, product.side, 3), np.uint8)


def product_graph(path: Path, precision: str, product: Product, *, plan: bool = False) -> Path:
    """Writes the product as a graph with a card, and where asked builds its plan; the path of what is to be opened."""
    if not path.exists():
        path.write_bytes(_proto(precision, product).SerializeToString())
    if not plan:
        return path
    from dlcv.export.builders.build import build_plan
    from dlcv.runtime.card.reader import read_card

    target = path.with_suffix(".plan")
    if not target.exists():
        build_plan(path, target, card=read_card(path))
    return target


def _proto(precision: str, product: Product) -> Any:
    import numpy as np

    from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card

    network = _network(product)
    size_hw = (product.side, product.side)
    card = untrained_card(
        NAME, "classification", product.side, mean_rgb=(128.0, 128.0, 128.0), std_rgb=(64.0, 64.0, 64.0)
    )
    if precision == "int8":
        from dlcv.export.precision.calibration import int8_from_onnx

        windows = np.random.default_rng(1).integers(0, 255, (2, *size_hw, 3), np.uint8)
        return with_card(
            int8_from_onnx(onnx_from_model(network, card), list(windows), "min-max"), card.changed(precision="int8")
        )
    if precision != "fp32":
        from dlcv.export.precision.cast import network_at

        network = network_at(network, precision, size_hw)
    return onnx_from_model(network, card.changed(precision=precision))


def _network(product: Product) -> Any:
    import torch
    from torch import nn

    class MeanLogits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classes = nn.Linear(product.channels, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classes(x.mean((2, 3)))  # type: ignore[no-any-return]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, product.channels, 1)]
        for _ in range(product.layers):
            conv = nn.Conv2d(product.channels, product.channels, 1, bias=False)
            nn.init.orthogonal_(conv.weight)  # keeps the values' size through all layers
            layers.append(conv)
        return nn.Sequential(*layers, MeanLogits()).eval()


def engine_multiply_adds(card: ModelCard, graph: Path | None = None) -> int:
    """Multiply-adds of one image through a card's model, counted on the network; of a model that is in no registry, on its graph.

    Raises:
        DlcvError, ModuleNotFoundError: when neither can be counted.
    """
    from dlcv.benchmarks.operations import count_operations

    try:
        return card.members * count_operations(
            card.model, card.input_size_hw, classes=len(card.classes), width=card.width, options=card.options
        ).multiply_adds  # fmt: skip
    except DlcvError:
        if graph is None or graph.suffix != ".onnx":
            raise
        import onnx

        from dlcv.export.precision.layers import layers_of

        proto = onnx.load(graph, load_external_data=False)  # shapes are enough, and a user's graph may name any file
        return sum(layer.multiply_adds for layer in layers_of(proto))
