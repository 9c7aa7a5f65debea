"""What `dlcv-evaluate` and `dlcv-parity` do: engines and checkpoints on labelled images, beside each other."""
