"""`dlcv-infer --isolate`: tiles are decoded in processes of their own, so that a decoder that crashes or hangs costs one tile.

`pool.py` is the run's side, `worker.py` the process, `wire.py` what goes between them. Nothing is unpickled on either side.
"""
