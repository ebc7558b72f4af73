"""Training states, written at once."""

from __future__ import annotations

from lora_bootstrap.trainer.training.checkpoint import take_snapshot, write_snapshot


def save_state(path, step, tensors, optimizer, extra=None):
    write_snapshot(path, take_snapshot(step, tensors, optimizer, extra))
