"""Takes a LoRA out of two models' difference, and makes LoRAs smaller."""
