"""One LoRA file: its tensors, its layers, and the names that each tool gives them."""
