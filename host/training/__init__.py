"""What the widgets of a training ask for, and the base that it is given."""
