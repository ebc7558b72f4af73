"""Many characters at once: what is asked of each, the tasks, the workers that share them, and one report."""
