"""The loop from one image to forty and a character LoRA: rounds, candidates, curation, report."""
