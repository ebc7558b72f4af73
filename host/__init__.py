"""What needs ComfyUI and is not a node: its models and LoRAs, its nodes called and repeated, progress, folders."""
