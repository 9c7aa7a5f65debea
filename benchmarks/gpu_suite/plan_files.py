"""`files` of plans alone, for the Python that TensorRT lives in, to which OpenCV and click are lent (`lent.py`)."""

from __future__ import annotations

from dlcv.benchmarks.gpu_suite.files import ARGUMENTS, on_the_gpu
from dlcv.benchmarks.gpu_suite.part import run_part


def main() -> None:
    """See the module."""
    run_part("plan-files", lambda given: on_the_gpu(given, "plan"), *ARGUMENTS)


if __name__ == "__main__":
    main()
