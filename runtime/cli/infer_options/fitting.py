"""How a tile comes to the engine's size: `FittingSettings`, and what is decoded."""

from __future__ import annotations

import click

from dlcv.runtime.cli.common import Finite


def min_max(value: str) -> tuple[float, float]:
    """`MIN,MAX`: two numbers; `DecodeOptions` says which."""
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not MIN,MAX, such as 0,10000") from None
    return low, high


def band_numbers(value: str) -> tuple[int, ...]:
    """`4,3,2` or `1`: one number, or those of red, green and blue, counted from 1."""
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise click.BadParameter(f"{value!r} is not R,G,B, such as 4,3,2, nor one number; bands count from 1")
    return numbers


OPTIONS = (
    click.option(
        "--fit",
        type=click.Choice(["windows", "pad", "resize"]),
        default=None,
        help="Segmentation: tiles of another size: windows (smaller ones padded), pad only, or resize.  [default: the engine's]",
    ),
    click.option(
        "--window",
        type=click.IntRange(1),
        nargs=2,
        default=None,
        metavar="HEIGHT WIDTH",
        help="Segmentation: window size, for engines of --dynamic-size.  [default: the engine's]",
    ),
    click.option(
        "--overlap",
        type=Finite(0, 0.9),
        default=None,
        help="Segmentation: of windows, as a share of their side.  [default: 0.25]",
    ),
    click.option(
        "--blend/--no-blend",
        default=None,
        help="Segmentation: average probabilities where windows overlap.  [default: if the engine gives them]",
    ),
    click.option(
        "--tta",
        type=click.Choice(["none", "flips", "full"]),
        default=None,
        help="Average over 4 flips, or all 8 flips and turns, at 4 or 8 times the work.  [default: none]",
    ),
    click.option(
        "--bands", type=band_numbers, default=None, metavar="R,G,B", help="Of TIFFs.  [default: by colour, or 1,2,3]"
    ),
    click.option(
        "--scale-16bit",
        type=min_max,
        default=None,
        metavar="MIN,MAX",
        help="Map 16-bit values linearly to 8 bits; without it such tiles fail.",
    ),
)
