"""The loss of each image: kept beside the run, compared with the others', and what follows from it."""
