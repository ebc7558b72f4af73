"""The places of the nodes in ComfyUI's menu."""

from __future__ import annotations

DATASET = "LoRA Bootstrap/dataset"
CAPTIONS = "LoRA Bootstrap/captions"
TRAIN = "LoRA Bootstrap/train"
BOOTSTRAP = "LoRA Bootstrap/bootstrap"
SWEEP = "LoRA Bootstrap/sweep"
STACK = "LoRA Bootstrap/stack"
SANDBOX = "LoRA Bootstrap/sandbox"
INTERNAL = "internal"
"""Below a place in the menu: nodes that other nodes add to a workflow."""
