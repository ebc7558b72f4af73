"""Mechanisms of one training step (figures that are read late, compiled blocks, rounding to 16 bits), and its advice."""
