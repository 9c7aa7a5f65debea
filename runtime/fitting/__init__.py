"""Images of another size than the engine's: fitted, cut into windows, and put together again."""
