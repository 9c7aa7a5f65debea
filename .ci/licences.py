"""The licences of everything that dlcv depends on and that is installed here, as a table; exit code 1 where one is not known to fit.

    python .ci/licences.py

A licence is what a package's own metadata say. dlcv is Apache-2.0; what it imports must allow that, without asking anything of
whoever runs it or passes it on unchanged.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
"""By SPDX's names. MPL-2.0 asks for the source of its own files where they were changed; none is."""
IN_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Other/Proprietary License": "proprietary",
    "Python Software Foundation License": "PSF-2.0",
}
"""What metadata say that know no SPDX."""
PROPRIETARY = {"tensorrt", "tensorrt-rtx-cu13", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs"}
"""NVIDIA's, installed only where an extra of that name is asked for, from NVIDIA's or PyPI's index; dlcv passes none of it on."""
DEVELOPMENT = {"test", "dev"}


class Dependency(NamedTuple):
    """A package: its name, the extras that bring it (empty: always), version and licence; both empty where it is not installed."""

    name: str
    extras: tuple[str, ...]
    version: str
    licence: str

    @property
    def fits(self) -> bool:
        """Whether its licence is known to fit; of what is not installed nothing is known, and nothing is used."""
        return not self.version or allowed(self.licence) or (self.licence == "proprietary" and self.name in PROPRIETARY)


def allowed(licence: str) -> bool:
    """Whether an SPDX expression without parentheses fits: one of its alternatives, all parts of it."""
    return any(all(part.strip() in ALLOWED for part in one.split(" AND ")) for one in licence.split(" OR "))


def licence_of(package: str) -> str:
    """What a package's metadata say, by SPDX's names where they are known; empty where they say nothing."""
    facts = importlib.metadata.metadata(package)
    if expression := facts.get("License-Expression"):
        return str(expression)
    classified = [line.split(" :: ")[-1] for line in facts.get_all("Classifier", []) if line.startswith("License ::")]
    said = classified or (facts.get("License") or "").strip().splitlines()[:1]
    return " AND ".join(IN_WORDS.get(text.strip(), text.strip()) for text in said)


def requirements() -> Iterator[tuple[str, str]]:
    """Extra (empty for what is always needed) and requirement, from setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for line in setup["options"]["install_requires"].split("\n"):
        yield "", line
    for extra, lines in setup["options.extras_require"].items():
        for line in lines.split("\n"):
            yield extra, line


def dependencies() -> list[Dependency]:
    """All of them, those of dependencies too, by name."""
    extras: dict[str, set[str]] = {}
    for extra, line in requirements():
        if line.strip():
            _walk(Requirement(line), "", extra, extras, set())
    found = []
    for name in sorted(extras):
        by = () if "" in extras[name] else tuple(sorted(extras[name] - DEVELOPMENT)) or ("test",)
        try:
            found.append(Dependency(name, by, importlib.metadata.version(name), licence_of(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Dependency(name, by, "", ""))
    return found


def _walk(wanted: Requirement, of: str, extra: str, found: dict[str, set[str]], seen: set[tuple[str, str]]) -> None:
    if wanted.marker and not wanted.marker.evaluate({"extra": of}):
        return
    name = str(canonicalize_name(wanted.name))
    found.setdefault(name, set()).add(extra)
    for part in ("", *wanted.extras):
        if (name, part) in seen:
            continue
        seen.add((name, part))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            return
        for line in needs:
            _walk(Requirement(line), part, extra, found, seen)


def row(one: Dependency) -> str:
    """Of the table."""
    return f"| {one.name} | {', '.join(one.extras) or 'always'} | {one.licence or ('unknown' if one.version else 'not looked at')} |"


def main() -> int:
    """Prints the table, and what does not fit."""
    found = dependencies()
    print("| package | wanted by | licence |\n|---|---|---|")
    for one in found:
        print(row(one))
    unfit = [one for one in found if not one.fits]
    for one in unfit:
        print(f"{one.name} {one.version}: {one.licence or 'no licence'} is not known to fit", file=sys.stderr)
    return 1 if unfit else 0


if __name__ == "__main__":
    sys.exit(main())
