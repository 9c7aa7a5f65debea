"""A graph in less than float32: how it is made (`cast`, `calibration`, `int8_with_fp16`), what proves it (`proof`, `proof_openvino`),
what it is verified with (`rounding`), how it is mended (`guilty`, `repair`) and which one is taken (`auto`, `race`); `low_precision`
leads through all of it.
"""
