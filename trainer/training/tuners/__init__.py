"""Kinds of adapters that a run can train, and how large each layer's is."""
