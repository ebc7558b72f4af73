"""What needs ComfyUI and is no node: models and LoRAs of the host, its nodes called and repeated, progress, folders."""
