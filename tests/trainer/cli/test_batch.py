"""`lora-bootstrap batch` and `farm`: which files the words name, prices, the plan, and what is said without Ray."""

import json

import pytest

from lora_bootstrap.trainer.cast import ray_pool
from lora_bootstrap.trainer.cli.sharing.batch import list_files, parse_prices
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.cast import write_character
from ...helpers.command_line import run


def test_folders_and_stars_stand_for_their_files_each_once(tmp_path):
    files = [write_character(tmp_path, name) for name in ("a", "b")]
    assert list_files([str(tmp_path)]) == files
    assert list_files([str(tmp_path / "*.toml"), str(files[0])]) == files
    with pytest.raises(UserError, match="c.toml is neither a character's file nor a folder"):
        list_files([str(tmp_path / "c.toml")])


def test_prices_are_of_cards_or_of_a_worker():
    assert parse_prices(["RTX 4090=0.69", "2"]) == {"RTX 4090": 0.69, "": 2.0}


def test_a_plan_shows_steps_hours_and_cost_and_makes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_character(tmp_path, "zqx", more="[style]\nsteps = 100\n[character]\nsteps = 200\n")
    assert run("batch", tmp_path, "--plan", "--price", "H100=3", "--output", tmp_path / "output", "--json") == 0
    told = capsys.readouterr()
    plan = json.loads(told.out)
    [card] = plan["cards"]
    assert plan["steps"] == 2 * 100 + 200 and card["cost"] == pytest.approx(card["hours"] * 3)
    assert "1 characters: 400 training steps" in told.err and "H100" in told.err
    assert not (tmp_path / "output").exists()


def test_without_ray_nothing_is_begun(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ray_pool, "find_spec", lambda name: None)
    path = write_character(tmp_path, "zqx")
    assert run("batch", path, "--output", tmp_path / "output") == 2
    assert "is not installed: pip install ray" in capsys.readouterr().err and not (tmp_path / "output").exists()
