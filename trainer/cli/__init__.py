"""The lora-bootstrap command: one file a verb."""
