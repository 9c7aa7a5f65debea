"""Benchmarks: parity with the PyTorch reference, latency, throughput and reports."""
