import pytest

from lora_bootstrap.trainer.backends import diffusers as pipeline


@pytest.fixture
def tiny(monkeypatch, tiny_backbone):
    """Every base that a command asks for is the tiny one."""
    monkeypatch.setattr(pipeline, "load_backbone", lambda base, precision="auto": tiny_backbone)
