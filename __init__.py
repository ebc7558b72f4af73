"""LoRA Bootstrap: from one picture of a character to a tested, shareable character LoRA.

In `custom_nodes/` this folder is the package ComfyUI loads; installed, it is `lora_bootstrap`.
Importing it needs neither a host nor torch.
"""

__version__ = "0.2.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Asked by the host for the pack's nodes. An error raised here is one line in the host's log."""
    from .host.compat import require_host

    require_host()
    from .nodes.extension import LoraBootstrap

    return LoraBootstrap()
