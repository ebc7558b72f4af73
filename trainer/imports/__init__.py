"""The settings of other trainers' configuration files, as ours: what maps, what differs, and what does not map."""
