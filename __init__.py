"""LoRA Bootstrap: from one picture of a character to a tested, shareable character LoRA.

In `custom_nodes/` this folder is the package ComfyUI loads; installed, it is `lora_bootstrap`.
Importing it needs neither a host nor torch.
"""

__version__ = "0.1.0"
