"""What a run keeps as it is: what the base draws, and that other LoRAs work beside the one that is trained."""
