"""What this Python lends to the one that TensorRT lives in: OpenCV and click, which that one lacks, for files in and out.

OpenCV's wheels hold one library for every Python 3 (`abi3`), and click is plain Python: links to them are enough.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGES = ("cv2", "click")


def lend(folder: Path) -> list[str]:
    """Fills `folder` with links; the names of what could be lent."""
    folder.mkdir(parents=True, exist_ok=True)
    lent = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        package = Path(spec.origin).parent
        if package.name != name or (name == "cv2" and not list(package.glob("*.abi3.so"))):
            continue  # built for one Python alone
        for path in (package, *package.parent.glob("opencv_*.libs")) if name == "cv2" else (package,):
            link = folder / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path.absolute())
        lent.append(name)
    return lent
