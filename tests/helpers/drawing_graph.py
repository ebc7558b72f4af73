"""The graph that draws a round's candidates, as a client queues it."""

from __future__ import annotations

from typing import Any


def drawing_graph() -> dict[str, dict[str, Any]]:
    """views → encoder → sampler (with a negative, a latent and a model beside it) → decoder."""
    return {
        "views": {"class_type": "LoraBootstrap_ViewPrompts", "inputs": {"round": 1}},
        "base": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "lora": {"class_type": "LoraBootstrap_PickCheckpoint", "inputs": {"model": ["base", 0], "strength": 0.6}},
        "encode": {"class_type": "CLIPTextEncode", "inputs": {"text": ["views", 0], "clip": ["base", 1]}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["base", 1]}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "sample": {"class_type": "KSampler", "inputs": {
            "model": ["lora", 0], "positive": ["encode", 0], "negative": ["negative", 0], "latent_image": ["latent", 0],
            "seed": ["views", 1], "steps": 16, "cfg": 3.0}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["base", 2]}},
    }
