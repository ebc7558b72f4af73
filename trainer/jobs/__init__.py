"""Trainings away from the desk: a job as one zip, its run on any machine, and its result as one zip."""
