"""What is known of files already, so that each is asked once."""

from __future__ import annotations

from dlcv.runtime.tiles.tile_list import Fingerprint, Tile


class Looks:
    """Asks what files are; while `keep` is on, once each, since asking is most of what a resumed run of done tiles takes.

    Args:
        keep: remember the answers until `forget`.
    """

    def __init__(self, keep: bool = False) -> None:
        self._known: dict[str, Fingerprint | None] | None = {} if keep else None

    def at(self, tile: Tile) -> Fingerprint | None:
        """As `Tile.fingerprint`, now or when it was asked first."""
        if self._known is None:
            return tile.fingerprint()
        where = tile.where
        if where not in self._known:
            self._known[where] = tile.fingerprint()
        return self._known[where]

    @property
    def keep(self) -> bool:
        """Whether answers are remembered."""
        return self._known is not None

    def know(self, where: str, found: Fingerprint) -> None:
        """Takes what a folder's listing told already."""
        if self._known is not None:
            self._known[where] = found

    def forget(self) -> None:
        """Lets the answers go, and keeps none from here on."""
        self._known = None
