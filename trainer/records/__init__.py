"""A project as a whole: its archive, as a backup or to move it, and what differs between two of its runs."""
