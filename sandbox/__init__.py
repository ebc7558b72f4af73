"""A small, really trained text-to-image model of a drawn character world.

With it the pack can run, be tested and be measured without a download. Importing this package does not import torch.
"""
from pathlib import Path

SANDBOX_DIR = Path(__file__).resolve().parent
BASE_DIR = SANDBOX_DIR / "base"
PICTURES_DIR = SANDBOX_DIR / "pictures"
JUDGE_FILE = SANDBOX_DIR / "judge.safetensors"

__all__ = ["BASE_DIR", "JUDGE_FILE", "PICTURES_DIR", "SANDBOX_DIR"]
