"""Images drawn with the host's own nodes: part of a workflow repeated for every value, the cells of a sweep, sheets."""
