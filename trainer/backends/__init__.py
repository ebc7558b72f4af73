"""Backbones that need no host: diffusers."""
