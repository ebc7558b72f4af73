"""Weights of a MODEL that a fine-tune starts from and ends with."""
