"""What one step of training is made of: losses, optimizers, schedules, precision."""
