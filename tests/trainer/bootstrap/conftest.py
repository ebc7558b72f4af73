"""Fixtures of a small loop whose training only writes a file."""

from __future__ import annotations

import pytest

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap import loop
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig

from ...helpers.drawings import draw_once
from ...helpers.loop_parts import AKANE, TAGS, Recorder


@pytest.fixture
def training(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(loop, "train", recorder)
    return recorder


@pytest.fixture
def config(tmp_path):
    picture = tmp_path / "akane.png"
    draw_once(world.Scene(AKANE), 128).save(picture)
    return BootstrapConfig(picture=str(picture), tags=TAGS, trigger="zqx", targets=(3, 8, 12), candidates=(12, 16),
                           strengths=(0.5, 1.0))
