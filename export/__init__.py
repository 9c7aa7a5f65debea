"""Export: checkpoint -> ONNX graph -> TensorRT plan, each verified before it gets its final name."""

import dlcv.runtime  # noqa: F401 - before ONNX Runtime, which it keeps from reporting to its maker
