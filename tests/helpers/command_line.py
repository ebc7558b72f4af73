"""The command line as a test calls it."""

from lora_bootstrap.trainer.cli.main import main

SMALL = ["--set", "adapter.rank=2", "--set", "adapter.conv_rank=0", "--set", "data.resolution=32", "--set",
         "data.batch_size=2", "--set", "steps=3", "--set", "data.upscale=true"]
"""Settings of a training that takes a second."""


def run(*argv):
    """The exit code of `lora-bootstrap` with these words."""
    return main([str(word) for word in argv])
