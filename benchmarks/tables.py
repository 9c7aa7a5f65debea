"""Results as tables."""

from __future__ import annotations

import math

from dlcv.runtime.comparison import Comparison
from dlcv.runtime.tables import markdown_table, score


def comparison_table(comparison: Comparison) -> str:
    """Mean IoU, per-class IoU and accuracy of both sides, with the differences."""
    a, b = comparison.reference, comparison.candidate
    rows = [
        ("mean IoU", a.mean_iou, b.mean_iou),
        *zip(comparison.classes, a.iou, b.iou, strict=True),
        ("pixel accuracy", a.pixel_accuracy, b.pixel_accuracy),
    ]
    lines = [[name, score(x), score(y), "-" if math.isnan(x - y) else f"{y - x:+.5f}"] for name, x, y in rows]
    logits = (
        "" if comparison.logit_difference is None else f", largest logit difference {comparison.logit_difference:.3g}"
    )
    return (
        markdown_table(["", "reference", "candidate", "difference"], lines)
        + f"\n\n{comparison.tiles} tiles, argmax agreement {comparison.agreement:.6f}{logits}; majority predictor's mean IoU {a.majority_mean_iou:.4f}"
    )
