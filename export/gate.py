"""The gate of a low precision: whether it is what torch is on labelled images (`Comparison.problems`), and what to do where these are
too few to tell.
"""

from __future__ import annotations

import math

from dlcv.runtime.errors import VerdictError
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT, Comparison
from dlcv.runtime.scoring.evaluation import NOUNS

MOST_IMAGES = {"segmentation": 64, "classification": 1000}
"""How many labelled images a low precision is compared with torch on at most: each is run at every stage and every repair."""


def images_for(task: str, max_drop: float) -> int:
    """How many labelled images a low precision is compared on, where there are as many: of classification those of which one is worth
    no more than the bound; of segmentation, where the spread of the tiles decides and is not known before, the most.
    """
    most = MOST_IMAGES[task]
    return most if task == "segmentation" or max_drop <= 1 / most else math.ceil(1 / max_drop - 1e-9)


def nothing_to_lose(comparison: Comparison, precision: str) -> str:
    """Why no low precision can be judged on these images, told before one is made and repaired; else empty.

    Args:
        comparison: of the float32 graph with torch.
        precision: that was asked for; `auto` can still take float32.

    Raises:
        VerdictError: with that reason, where one low precision was asked for.
    """
    if precision == "fp32" or not (reason := comparison.nothing_to_compare()):
        return ""
    if precision != "auto":
        raise VerdictError(
            f"{precision} cannot be judged on {comparison.images} {NOUNS[comparison.task]}s, no file was written: {reason}"
        )
    return reason


def require_held(comparison: Comparison, precision: str, max_drop: float) -> str:
    """Holds the last stage to the bounds of its precision.

    Args:
        comparison: with torch in float32.
        precision: of the stage.
        max_drop: how far mean IoU or accuracy may fall, 0..1.

    Returns:
        A line for people about what was let pass though it is beyond its bound (`Comparison.not_shown`); else empty.

    Raises:
        VerdictError: names all that fails.
    """
    noun = NOUNS[comparison.task]
    if problems := comparison.problems(max_drop=max_drop, min_agreement=MIN_AGREEMENT[comparison.task][precision]):
        if advice := _of_a_failure(comparison, max_drop):
            problems.append(advice)
        raise VerdictError(
            f"{precision} is not what torch is on {comparison.images} {noun}s, no file was written: {'; '.join(problems)}"
        )
    note = comparison.not_shown(max_drop)
    return note and f"{note}; {_more(comparison, max_drop) or 'dlcv-parity compares on as many as its --data holds'}"


def _more(comparison: Comparison, max_drop: float) -> str:
    noun, most = NOUNS[comparison.task], images_for(comparison.task, max_drop)
    return (
        "" if comparison.images >= most else f"name more labelled {noun}s with --data, of which up to {most} are taken"
    )


def _of_a_failure(comparison: Comparison, max_drop: float) -> str:
    """What to do where the drop fails by what chance excuses at most, and the images cannot tell it; else empty."""
    fall, noun = comparison.fall, NOUNS[comparison.task]
    if comparison.nothing_to_compare() or fall.holds(max_drop) or fall.told(max_drop):
        return ""
    more = _more(comparison, max_drop)
    return f"{comparison.images} {noun}s are few for such a bound: {more + ', or ' if more else ''}allow more with --max-drop"


def not_shown_proof(comparison: Comparison) -> str:
    """What the card says of a drop that was let pass, such as `drop not shown: accuracy -0.0208 on 48 images`."""
    fall, noun = comparison.fall, NOUNS[comparison.task]
    return f"drop not shown: {fall.figure} {0.0 - fall.by:+.4f} on {comparison.images} {noun}s"
