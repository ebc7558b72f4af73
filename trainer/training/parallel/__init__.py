"""Several processes, each with a GPU of its own, that train one run together."""
