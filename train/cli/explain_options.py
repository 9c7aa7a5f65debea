"""The options of the feature pictures, for `dlcv-explain` and for any command that embeds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlcv.runtime.cli.common import with_options

if TYPE_CHECKING:
    from dlcv.train.explain.options import ExplainOptions

KINDS = "weights,tsne,saliency,filters"
"""As in `train/explain/options.py`; a test compares them."""

OPTIONS = (
    click.option(
        "--feature-pictures", default=KINDS, show_default=True, metavar="KIND,...", help="Which feature pictures."
    ),
    click.option(
        "--feature-images", type=click.IntRange(0), default=0, metavar="N", help="Images read at most.  [default: 1000, or 200 tiles]"
    ),
    click.option("--tsne-points", type=click.IntRange(5), default=1000, show_default=True, help="Points of t-SNE at most."),
    click.option(
        "--saliency-images", type=click.IntRange(1, 32), default=6, show_default=True, help="Images shown with their saliency."
    ),
    click.option(
        "--smoothgrad", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Average saliency over N noisy copies."
    ),
    click.option("--layers", default="", metavar="NAME,...", help="Of --feature-pictures filters.  [default: first, middle, last]"),
    click.option("--filters", type=click.IntRange(1, 64), default=6, show_default=True, help="Filters shown of each layer."),
    click.option("--top-images", type=click.IntRange(1, 32), default=5, show_default=True, help="Images shown beside a filter."),
    click.option(
        "--filter-steps", type=click.IntRange(1), default=128, show_default=True, help="Steps of gradient ascent for a filter's input."
    ),
    click.option(
        "--feature-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of images, t-SNE and noise."
    ),
)  # fmt: skip


explain_options = with_options([OPTIONS])
"""Adds all of them; `--help` shows them in this order."""


def take_explain(options: dict[str, Any], *, device: str) -> ExplainOptions:
    """Takes what `explain_options` added out of a command's options.

    Args:
        options: by parameter name; those of this module are removed.
        device: of the command.

    Raises:
        UsageError: for an unknown kind of picture.
    """
    from dlcv.train.explain.options import ExplainOptions

    def names(text: str) -> tuple[str, ...]:
        return tuple(filter(None, map(str.strip, text.split(","))))

    return ExplainOptions(
        kinds=names(options.pop("feature_pictures")),
        images=options.pop("feature_images"),
        points=options.pop("tsne_points"),
        saliency_images=options.pop("saliency_images"),
        smooth=options.pop("smoothgrad"),
        layers=names(options.pop("layers")),
        filters=options.pop("filters"),
        top=options.pop("top_images"),
        steps=options.pop("filter_steps"),
        seed=options.pop("feature_seed"),
        device=device,
    )
