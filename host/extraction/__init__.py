"""The host's models and checkpoint files as sides of an extraction."""
