"""--name of every command: refused before any work if it would lead elsewhere, or cannot be saved on every system."""

import pytest

from lora_bootstrap.trainer.cli.terminal.options import chosen_name

from ...helpers.command_line import SMALL, run
from ...helpers.lora_files import lora

BAD = ["../../escaped", "a/b", "..", "/absolute", ".hid", "a\nb", "x" * 121, "CON", "nul.txt", "a.", "a ", "\ud800"]


@pytest.fixture
def verbs(tmp_path, dataset, tiny):
    """Each command that takes a name, without it."""
    images, file = tmp_path / "data", lora(tmp_path / "hero.safetensors", 1)
    return {
        "train": ["train", "--dataset", images, *SMALL], "audit": ["audit", "--dataset", images],
        "grid": ["grid", "--lora", file, "--prompt", "a"], "sweep": ["sweep", "--lora", file, "--prompt", "a"],
        "merge": ["merge", file, lora(tmp_path / "ink.safetensors", 2)],
        "bootstrap": ["bootstrap", "--picture", next(images.glob("*.png")), "--tags", "1girl", "--trigger", "t"],
    }


@pytest.mark.parametrize("verb", ["train", "audit", "grid", "sweep", "merge", "bootstrap"])
def test_a_name_that_cannot_be_a_folders_is_refused_first(verb, verbs, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    for name in BAD:
        assert run(*verbs[verb], "--output", tmp_path / "deep" / "output", f"--name={name}") == 2, name
        said = capsys.readouterr().err
        assert "cannot be a folder's or a file's" in said and said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sweep_is_not_saved_where_the_log_of_all_sweeps_is(verbs, tmp_path, capsys):
    assert run(*verbs["grid"], "--output", tmp_path / "output", "--name", "Log") == 2
    assert "holds the log of all sweeps" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


def test_a_name_that_is_not_given_is_made_valid():
    assert chosen_name("", "x" * 130, "sweep") == "x" * 120
    assert chosen_name("", ".", "sweep") == "sweep"
