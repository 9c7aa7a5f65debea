"""Export: checkpoint -> ONNX graph -> TensorRT plan, each verified before it gets its final name."""
