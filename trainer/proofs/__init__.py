"""What a run must prove: the same text as sampling, a LoRA in every layer that needs one, a file that works."""
