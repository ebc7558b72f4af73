"""The proof that what needs a LoRA has one: how many of the linear layers in the blocks, and all of the attention."""

from __future__ import annotations

from ..models.layers import Coverage
from .proof import COVERAGE, Proof


def prove_coverage(found: Coverage) -> Proof:
    """Attention without a LoRA fails; feed-forward and other layers may be left out by choice."""
    share = f"{found.adapted} of {found.linear} linear layers in the blocks"
    bare = found.bare_attention
    words = share if not bare else (
        f"{share}, but {len(bare)} layers of attention have no LoRA, such as {bare[0]}. Choose layers 'all'; if that "
        "does not help, this network's attention cannot have one here: report this line with the model's name.")
    return Proof(COVERAGE, not bare, words, found.adapted / found.linear if found.linear else None)
