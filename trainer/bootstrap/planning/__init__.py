"""What is drawn for a round: its views, their prompts and references, and a table of them."""
