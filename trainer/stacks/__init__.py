"""Several LoRAs together: stacks, blocks, conflicts, merges, splits in time."""
