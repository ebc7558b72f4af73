"""Which images of a round are kept, and why: gates, picks, and the figures of what is kept."""
