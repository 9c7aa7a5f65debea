"""The commands of benchmarks."""
