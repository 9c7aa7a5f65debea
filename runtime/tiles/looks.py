"""What is known of files already, so that each is asked once."""

from __future__ import annotations

from dlcv.runtime.tiles.tile_list import Fingerprint, fingerprint_of


class Looks:
    """Asks what files are; while it keeps answers, once each, since asking is most of what a resumed run of done tiles takes.

    Args:
        keep: remember the answers until `forget`.

    Attributes:
        known: what each file was, by `Tile.where`, for whoever lists folders to put in and to look up what was put in; None where no
            answers are kept.
    """

    def __init__(self, keep: bool = False) -> None:
        self.known: dict[str, Fingerprint | None] | None = {} if keep else None

    def at(self, where: str) -> Fingerprint | None:
        """As `fingerprint_of`, now or when it was asked first."""
        known = self.known
        if known is None:
            return fingerprint_of(where)
        try:
            return known[where]
        except KeyError:
            return known.setdefault(where, fingerprint_of(where))

    def forget(self) -> None:
        """Lets the answers go, and keeps none from here on."""
        self.known = None
