"""Results as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlcv.runtime.metrics import Scores, per_class_lines
from dlcv.runtime.scoring.comparison import Comparison
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.runtime.tables import markdown_table, score


def score_rows(scores: Scores, classes: Sequence[str], uncounted: Sequence[int] = ()) -> list[tuple[str, float]]:
    """Names and values: the headline, a line a class, the other figures; without the majority predictor's."""
    _, *others = ((name, value) for name, value in scores.figures().items() if not name.startswith("majority_"))
    return [
        (scores.headline_name, scores.headline),
        *per_class_lines(scores, classes, uncounted),
        *((name.replace("top_", "top-").replace("_", " "), value) for name, value in others),
    ]


def comparison_table(comparison: Comparison) -> str:
    """The figures of both sides, with the differences."""
    a, b = comparison.reference, comparison.candidate
    sides = zip(score_rows(a, comparison.classes), score_rows(b, comparison.classes), strict=True)
    lines = [[name, score(x), score(y), "-" if math.isnan(x - y) else f"{y - x:+.5f}"] for (name, x), (_, y) in sides]
    apart = [
        f", largest {what} difference {value:.3g}"
        for what, value in (("logit", comparison.logit_difference), ("probability", comparison.probability_difference))
        if value is not None
    ]
    noun = NOUNS[comparison.task]
    return (
        markdown_table(["", "reference", "candidate", "difference"], lines)
        + f"\n\n{comparison.images} {noun}s, argmax agreement {comparison.agreement:.6f}{''.join(apart)}; "
        + f"majority predictor's {a.headline_name} {a.majority:.4f}"
    )
