"""One step from a trained LoRA to a folder and a zip that others can use: file, previews, sidecars, card and rights."""
