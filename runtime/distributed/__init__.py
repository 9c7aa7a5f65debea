"""A run on a cluster of Ray: `cluster.py` asks it for workers, `worker.py` is what they do, `flow.py` feeds and hears them."""
