"""Mechanisms of one training step: late readings, compiled blocks, rounding to 16 bits; and what a run advises."""
