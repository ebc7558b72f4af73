"""One training run: its settings, the loop, what feeds it, and what it leaves on disk."""
