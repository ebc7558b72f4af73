"""The tiny model, made when this is imported: a process that is forked from one that did has it at once."""

import gc

import torch

from .tiny import make_tiny_backbone

torch.set_num_threads(1)  # threads do not survive a fork
BACKBONE = make_tiny_backbone()
gc.freeze()  # else each training of each fork goes through all modules, and copies their pages
