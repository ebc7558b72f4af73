"""Images drawn with the host's own nodes: part of a graph repeated for every value, the cells of a sweep, sheets."""
