class KSampler:
    """What the host offers to choose from; each host has names of its own, and a test may set them."""

    SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m", "ddim"]
    SCHEDULERS = ["simple", "karras", "normal"]
