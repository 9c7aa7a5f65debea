"""Training: models, data, losses, the loop, checkpoints."""
