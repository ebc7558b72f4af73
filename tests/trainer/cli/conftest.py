import pytest

from lora_bootstrap.trainer.backends import diffusers as pipeline
from lora_bootstrap.trainer.cli.terminal import mistakes


@pytest.fixture
def tiny(monkeypatch, tiny_backbone):
    """Every base that a command asks for is the tiny one."""
    monkeypatch.setattr(mistakes, "find_given_base", lambda base: None)
    monkeypatch.setattr(pipeline, "load_backbone", lambda base, precision="auto": tiny_backbone)
