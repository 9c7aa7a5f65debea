"""The parts, in order of worth: the one list that `--list`, the dry run, the docs and `make bench-gpu` go by."""

from __future__ import annotations

from dataclasses import dataclass

LIMIT_S = 120
"""Of a part of `make bench-gpu`, in seconds."""
BUILDING_S = 300
"""Of one that builds plans: a build cannot be interrupted, and what was found before is kept."""
MODULE = "dlcv.benchmarks.gpu_suite"
TENSORRT_PYTHON = "${DLCV_TENSORRT_PYTHON:-python}"
"""Where full TensorRT lies in a Python of its own, that; see docs/gpu.md."""


@dataclass(frozen=True)
class Part:
    """Something to be seen on a GPU.

    Attributes:
        name: of the part.
        tells: what is known afterwards.
        command: words, as in a shell; `python` is the one that runs the suite.
        minutes: that it takes on an H200, as expected.
        packages: that it imports beside dlcv's own needs; an entry with `|` is met by any of its packages.
        driver: whether it needs an NVIDIA driver.
        suite: whether it is part of `make bench-gpu`.
        data: a folder that it reads, in the checkout.
        spare: of it, where the others leave time; with --minutes more there is some for sure.
    """

    name: str
    tells: str
    command: str
    minutes: float
    packages: tuple[str, ...] = ()
    driver: bool = True
    suite: bool = True
    data: str = ""
    spare: bool = False

    @property
    def limit_s(self) -> float:
        """After which it is stopped."""
        if not self.suite:
            return 60 * max(10.0, 3 * self.minutes)
        return BUILDING_S if self.name.startswith("plans-") else LIMIT_S


def _program(name: str, words: str = "") -> str:
    return f"python -m {MODULE}.{name} {words}".strip()


def _tests(paths: str, keyword: str = "") -> str:
    only = f"-k {keyword} " if keyword else ""
    return f"python -m pytest -q -rs -p no:cacheprovider -m gpu {only}{paths}"


def _training(model: str, data: str, epochs: int, minutes: float, options: str = "") -> Part:
    run = "-".join(filter(None, [model, "weighted" if "weighted" in options else ""]))
    dataset = "--dataset dubai512 " if data == "dubai512" else ""
    words = f"--model {model} --data {data}/ {dataset}--epochs {epochs} --output runs/gpu-{run} --device cuda {options}".strip()
    return Part(
        f"train-{run}", "a training run on the GPU", f"python -m dlcv.train {words}", minutes,
        packages=("torch",), suite=False, data=data,
    )  # fmt: skip


def _plans(model: str, minutes: float, budget: int, spare: bool = False) -> Part:
    return Part(
        f"plans-{model}", "full TensorRT: plans for batches up to 64, built, run with and without CUDA graphs, compared, timed at batch 1 to 64",
        f"{TENSORRT_PYTHON} -m {MODULE}.plans {model} --budget {budget}", minutes, ("numpy", "tensorrt", "pycuda"), spare=spare,
    )  # fmt: skip


def _bench(model: str, more: str = "", minutes: float = 0.35) -> tuple[Part, Part]:
    return (
        Part(f"graphs-{model}", "nothing by itself: graphs for the next part", _program("graphs", model), 0.25, ("torch", "onnx", "onnxscript"), driver=False),
        Part(
            f"bench-{model}", f"images a second at batch 1 to 64 in fp16, TF32, fp32{more}",
            _program("bench", f"{model} --budget {60 * minutes - 5:.0f}"), minutes,
            ("torch", "onnx", "onnxruntime", "pycuda"),
        ),
    )  # fmt: skip


PARTS: tuple[Part, ...] = (
    Part("copies", "streams, pinned buffers, GB/s of copies", _program("copies"), 0.15, ("pycuda",)),
    Part("graphs-fcn8s", "nothing by itself: graphs for the next parts", _program("graphs", "fcn8s"), 0.6, ("torch", "onnx", "onnxscript"), driver=False),
    _plans("fcn8s", 1.3, 75),
    Part(
        "contract-onnxruntime", "ONNX Runtime's CUDA provider keeps the sessions' contract, in fp32, TF32, fp16, bf16",
        _tests("tests/contracts/test_sessions.py tests/contracts/test_session_precisions.py tests/runtime/sessions/test_onnxrt.py", "'onnx-cuda or tf32'"), 0.6,
        ("pytest", "torch", "onnx", "onnxscript", "onnxruntime"),
    ),
    Part("parity-fcn8s", "ONNX Runtime CUDA with IO binding agrees with a CPU, in fp32, TF32, fp16", _program("parity", "fcn8s"), 0.25, ("onnxruntime",)),
    Part(
        "plan-files-fcn8s", "a plan, file to file, beside the device alone and the codec alone",
        f"{TENSORRT_PYTHON} -m {MODULE}.plan_files fcn8s --budget 15", 0.5, ("numpy", "tensorrt", "pycuda", "cv2", "click"),
    ),
    Part(
        "files-fcn8s", "the fp16 graph, file to file, beside the device alone and the codec alone", _program("files", "fcn8s --budget 15"), 0.5,
        ("onnxruntime", "pycuda"),
    ),
    _bench("fcn8s", "; int8 where its plan was built; beside torch eager and torch.compile", 0.7)[1],
    Part(
        "pipeline", "folders, resuming, restarts, threads and memory that runs out, through ONNX Runtime's CUDA provider and a plan",
        _tests("tests/runtime/test_on_a_gpu.py"), 0.4, ("pytest", "torch", "onnx", "onnxscript", "onnxruntime"),
    ),
    Part(
        "contract-plan", "plans keep the sessions' contract, where TensorRT is in the same Python as torch",
        _tests("tests/contracts/test_sessions.py tests/contracts/test_session_precisions.py tests/export/builders/test_build.py", "plan"), 0.4,
        ("pytest", "torch", "onnx", "onnxscript", "pycuda", "tensorrt|tensorrt_rtx"),
    ),
    Part("validity-fcn8s", "whether TensorRT-RTX's plans run on this GPU", _program("validity", "fcn8s"), 0.15, ("tensorrt_rtx", "pycuda")),
    *_bench("resnet50"),
    *_bench("deeplabv3-resnet101"),
    *_bench("fcn32s"),
    Part(
        "matrix", "the parity suite on the GPU's sessions: narrow models that learned something, beside torch", _program("matrix", "--budget 15"), 0.5,
        ("torch", "onnx", "onnxscript", "onnxruntime"),
    ),
    *(_plans(model, 0.8, 40, spare=True) for model in ("resnet50", "deeplabv3-resnet101", "fcn32s")),
    _training("fcn8s", "dubai512", 100, 6),
    _training("fcn32s", "dubai512", 100, 6),
    _training("fcn32s-fc7x7", "dubai512", 100, 9, "--loss weighted-cross-entropy"),
    _training("unet", "dubai512", 100, 6),
    _training("deeplabv3-resnet101", "dubai512", 100, 9),
    _training("resnet18", "eurosat", 30, 5),
    _training("resnet50", "eurosat", 30, 7),
    _training("resnet101", "eurosat", 30, 9),
    _training("densenet201-mlp", "eurosat", 30, 9),
)  # fmt: skip
