"""What a run writes for each tile: one file a kind of output."""
