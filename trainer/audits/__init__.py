"""What is wrong with a dataset, and what it lacks: figures, findings, report."""
