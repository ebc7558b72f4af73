"""Floor 0, which imports nothing of ours: errors, checks, files, events, tensors cached on disk."""
