"""What a run is asked to do: its settings, from options or a file, and what is wrong with them."""
