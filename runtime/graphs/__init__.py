"""Graphs of ONNX as files: what they hold, read field by field without onnx."""
