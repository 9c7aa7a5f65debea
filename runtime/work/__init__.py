"""What a process does with the tiles of a run, wherever it is: its settings, its hands, its pipeline. `run/` and `distributed/` are built on it."""
