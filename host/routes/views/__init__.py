"""What the routes answer with: one file for each kind of thing that a browser shows."""
