"""What a training step takes, counted before anything is loaded: memory, operations, disk."""
