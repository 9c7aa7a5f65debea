"""Every command that the README and the pages of docs/ show is run, in the order in which they stand.

The pages speak of real sizes; here each command is given further options that make it small (a later option wins), and nothing
else is changed. A page's commands share one folder, as they would for a reader who types them one after the other; it holds
labelled tiles, a trained run and an export already.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from s3_server import Bucket, s3_environment

from dlcv.benchmarks.programs.startup import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = (
    "docs/training.md",
    "docs/classification.md",
    "docs/report.md",
    "docs/models.md",
    "docs/own-models.md",
    "docs/features.md",
    "docs/export.md",
    "docs/inference.md",
    "docs/many-machines.md",
    "docs/python.md",
    "docs/large-images.md",
    "docs/outputs.md",
    "docs/parity.md",
    "docs/benchmarks.md",
    "docs/inspect.md",
    "docs/serving.md",
    "docs/security.md",
    "README.md",
)

SMALL = {
    "dlcv-sample": "--overwrite --tiles 32 --validation 8 --size 64",
    "dlcv-train": "--width 0.1 --crop 64 --batch 4 --workers 0 --device cpu",
    "dlcv-explain": "--feature-images 12 --filter-steps 4 --filters 2 --device cpu",
    "torchrun": "--width 0.1 --crop 64 --batch 4 --workers 0 --device cpu",
    "dlcv-report": "",
    "dlcv-export": "",
    "dlcv-infer": "",
    "dlcv-inspect": "",
    "dlcv-doctor": "",
    "dlcv-evaluate": "",
    "dlcv-parity": "",
    "dlcv-bench": "--rounds 3 --pairs 3 --seconds 0.1 --warm-up 0.05 --tiles 2 --processes 0",
}
FORKED = ("dlcv-train", "dlcv-explain", "dlcv-report", "dlcv-export", "dlcv-evaluate", "dlcv-parity", "dlcv-bench")
"""Commands that import torch, or may: forked from a process that has it already, where a new one would take seconds for it."""
EPOCHS = 25
"""Of a small run whose model is exported: enough to be above the majority predictor, which export and parity insist on."""
CLASSIFIER_EPOCHS = 5
"""Likewise for a classifier, which learns more from an epoch."""


def _commands(page: str) -> list[str]:
    """The indented lines of a page that begin with one of our commands, or with torchrun."""
    found = re.findall(r"^    ((?:dlcv-[a-z]+|torchrun)(?: .*?)?)(?:\s+#.*)?$", (ROOT / page).read_text(), re.MULTILINE)
    return [command.strip() for command in found]


def _snippets(page: str) -> str:
    """A page's Python, in its order, as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))


def _small(line: str, epochs: int) -> list[str]:
    words = shlex.split(line)
    extra = shlex.split(SMALL[words[0]])
    if words[0] == "dlcv-bench" and not any(word.endswith(".onnx") for word in words):
        extra = []  # two results are compared, and nothing is measured
    if "classification" in words:
        extra = shlex.split("--overwrite --tiles 96 --validation 24 --size 64")
    if "--model-file" in words and words[0] == "dlcv-train":
        extra = extra[2:]  # that network has no width
    if words[0] in ("dlcv-train", "torchrun"):
        if " --epochs 0" not in line:  # weights as they are
            extra += ["--epochs", str(epochs)]
        if "--resume" not in words:
            extra.append("--overwrite")  # pages begin with the same folder again
    if words[0] == "dlcv-infer" and "--resume" not in words:
        extra.append("--overwrite")
    return [*words, *extra]


class Shell:
    """A folder in which a page's commands are run; `forks` is the fixture, and without it each is a new process."""

    def __init__(self, folder: Path, forks: Any = None) -> None:
        self.folder = folder
        self._forks = forks
        self._environment = os.environ | {
            "PYTHONPATH": str(ROOT / ".typing"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "TORCH_HOME": str(folder / "torch"),
            "https_proxy": "http://127.0.0.1:9",  # nobody listens there: a machine without a network
        }

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs one of our commands, or torchrun; what stands at `s3://bucket/tiles/` is the folder `tiles/`."""
        if any(word.startswith("s3://bucket/tiles/") for word in words) and importlib.util.find_spec("s3fs"):
            with s3_environment() as environment:
                Bucket(environment["AWS_ENDPOINT_URL"], "bucket").put_folder(self.folder / "tiles", "tiles")
                return self._run(words, environment)
        return self._run(words, {})

    def _run(self, words: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if words[0] == "torchrun":
            return self.process("-m", "torch.distributed.run", *words[1:])
        environment = self._environment | more
        code = f"import sys; sys.argv[0] = {words[0]!r}; from {COMMANDS[words[0]]} import main; main()"
        if self._forks is not None and words[0] in FORKED:
            done: subprocess.CompletedProcess[str] = self._forks.run(
                code, words[1:], cwd=self.folder, env=environment, timeout=300
            )
            return done
        return self.process("-c", code, *words[1:], environment=environment)

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Python."""
        return self.process("-c", code, *arguments)

    def process(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Starts Python with these arguments; without an environment, in the shell's own."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder, env=environment or self._environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A folder with labelled tiles, a trained run and an export, which the pages take for given; and how the commands ended that made it."""

    folder: Path
    done: dict[tuple[str, ...], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, forks: Any) -> Prepared:
    shell = Shell(tmp_path_factory.mktemp("prepared"), forks)
    ended: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}
    for line in (
        "dlcv-sample tiles/",
        "dlcv-train --model fcn8s --data tiles/",
        "dlcv-export --model fcn8s",
        "dlcv-sample images/ --task classification",
        "dlcv-train --model resnet18 --data images/",
        "dlcv-export --model resnet18 --format onnx",
    ):
        words = _small(line, CLASSIFIER_EPOCHS if "resnet18" in line else EPOCHS)
        done = ended[tuple(words)] = shell.run(words)
        assert done.returncode == 0, done.stderr
    return Prepared(shell.folder, ended)


@pytest.fixture(scope="module")
def shells(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory, forks: Any) -> dict[str, Shell]:
    """A folder a page."""
    found = {}
    for page in PAGES:
        folder = tmp_path_factory.mktemp("reader")
        shutil.copytree(prepared.folder, folder, dirs_exist_ok=True)
        if page == "docs/security.md":
            _sign(folder)
        if page == "docs/own-models.md":
            _bring_weights(folder)
        found[page] = Shell(folder, forks)
    return found


def _sign(folder: Path) -> None:
    """What the page's minisign commands leave: a public key, and the graph's signature."""
    minisign = pytest.importorskip("minisign", reason="the sign extra is not installed")
    pair = minisign.KeyPair.generate()
    (folder / "minisign.pub").write_bytes(bytes(pair.public_key))
    signature = pair.secret_key.sign((folder / "fcn8s.onnx").read_bytes(), trusted_comment="a test")
    (folder / "fcn8s.onnx.minisig").write_bytes(bytes(signature))


def _bring_weights(folder: Path) -> None:
    """The file that the page shows, and weights of its network."""
    (folder / "mynets.py").write_text(_snippets("docs/own-models.md"))
    code = "import torch\nfrom mynets import RoadNet\ntorch.manual_seed(0)\ntorch.save(RoadNet(7).state_dict(), 'weights.pth')"
    done = Shell(folder).python(code)
    assert done.returncode == 0, done.stderr


def _has_gpu() -> bool:
    from dlcv.runtime.sessions.cuda import driver_problem

    return not driver_problem()


def test_pages_show_commands() -> None:
    assert {page: bool(_commands(page)) for page in PAGES} == dict.fromkeys(PAGES, True)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in _commands(page)])
def test_command_works(shells: dict[str, Shell], prepared: Prepared, page: str, line: str) -> None:
    epochs = EPOCHS if page == "README.md" else 1  # only the README goes on to export what it trained
    if page == "docs/classification.md":
        epochs = CLASSIFIER_EPOCHS
    words = _small(line, epochs + 1 if "--resume" in line else epochs)
    if "tensorrt-rtx" in line:
        pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this Python")
    prepares = page == "README.md" and tuple(words) in prepared.done  # its road is the one that made the folder
    done = prepared.done[tuple(words)] if prepares else shells[page].run(words)
    if "--init imagenet" in line:  # without a network: what to fetch, and where to put it
        assert done.returncode == 2
        assert "resnet18-f37072fd.pth" in done.stderr and str(shells[page].folder / "torch") in done.stderr
        return
    plan_there = (
        importlib.util.find_spec("tensorrt_rtx") is not None
    )  # else the export wrote none, which the command says
    if "HOST:6379" in line:  # a machine without a cluster
        assert done.returncode == 2
        assert ("no Ray cluster at HOST:6379" if plan_there else "does not exist") in done.stderr
        return
    if ".plan" in line and not _has_gpu():
        assert done.returncode == 2
        assert ("no NVIDIA driver" if plan_there else "does not exist") in done.stderr
        return
    if "s3://" in line and importlib.util.find_spec("s3fs") is None:
        assert done.returncode == 2
        assert "pip install 'dlcv-edge[s3]'" in done.stderr
        return
    if "--ray auto" in line and importlib.util.find_spec("ray") is not None:  # as above
        assert done.returncode == 2
        assert "no Ray cluster at auto" in done.stderr
        return
    if "--ray" in line and importlib.util.find_spec("ray") is None:
        assert done.returncode == 2
        assert "pip install 'dlcv-edge[ray]'" in done.stderr
        return
    if "--precision int8" in line and done.returncode == 1:
        # A network of seconds of training, whose logits lie near each other, may lose more in int8 than is allowed, and is told so.
        # What is restored for that may leave a plan less than the least share, since transposed convolutions are much of a narrow network.
        last = done.stderr.splitlines()[-1]
        assert re.search(
            r"no file was written: (argmax agreement 0\.9|kernels in the build log: [78]\d\.\d% in int8)", last
        ), last
        return
    assert done.returncode == 0, f"{page}: {line}\n{done.stderr}"


RECORDED = """
import cv2
film = cv2.VideoWriter('camera.avi', cv2.VideoWriter_fourcc(*'MJPG'), 25, images[0].shape[1::-1])
for image in images:
    film.write(image[..., ::-1])
film.release()
"""
"""Stands for a camera, which a machine that tests has none of."""


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_python_works(shells: dict[str, Shell], page: str) -> None:
    """After the page's commands, which stand above; `images` are tiles of the folder."""
    code = "from pathlib import Path\nfrom dlcv.runtime.tiles.decode import decode_file\n"
    code += "images = [decode_file(path) for path in sorted(Path('tiles').rglob('*_sat.jpg'))[:3]]\nassert images\n"
    code += RECORDED
    done = shells[page].python(code + _snippets(page).replace("cv2.VideoCapture(0)", "cv2.VideoCapture('camera.avi')"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("frame of the camera: ") == 3 * (page == "docs/python.md")


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text()))
    assert shown
    assert shown <= targets


def test_the_commands_for_a_gpu_parse() -> None:
    """What they do needs a GPU; with --list they check their options and print the parts."""
    lines = re.findall(
        r"^    python -m dlcv\.benchmarks\.gpu_suite(.*)$", (ROOT / "docs/gpu.md").read_text(), re.MULTILINE
    )
    assert len(lines) >= 3
    for line in lines:
        done = Shell(ROOT).process("-m", "dlcv.benchmarks.gpu_suite", *shlex.split(line), "--list")
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "gpu_suite.copies" in done.stdout
    assert re.search(r"^bench-gpu:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, "docs/gpu.md", "CONTRIBUTING.md", "SECURITY.md", "docs/decisions.md", "docs/dependencies.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
            if not target.startswith("http"):
                assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_no_page_has_a_gap_left_to_fill() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks/results").glob("*.md")):
        assert not re.search(r"@[A-Z]+@", path.read_text()), path
