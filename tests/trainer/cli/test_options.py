"""Texts of options that several commands read."""

import pytest

from lora_bootstrap.trainer.cli.terminal.options import parse_lora, parse_settings
from lora_bootstrap.trainer.common.errors import UserError


def test_settings_are_read_as_json_or_as_text():
    assert parse_settings(["a=1", "b=1e-3", "c=true", "d=cosine", 'e=["x"]', "f=a=b"]) == {
        "a": 1, "b": 0.001, "c": True, "d": "cosine", "e": ["x"], "f": "a=b"}


def test_a_lora_may_carry_its_strength(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert parse_lora(f"{tmp_path}/a.safetensors:0.8") == (tmp_path / "a.safetensors", 0.8)
    assert parse_lora(f"{tmp_path}/a.safetensors") == (tmp_path / "a.safetensors", 1.0)
    with pytest.raises(UserError, match="b.safetensors"):
        parse_lora(f"{tmp_path}/b.safetensors:x")
    for text in ("nan", "inf", "-1e999"):
        with pytest.raises(UserError, match="the strength of a.safetensors is .*; it must be a number from -100"):
            parse_lora(f"{tmp_path}/a.safetensors:{text}")
