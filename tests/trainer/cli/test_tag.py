"""`lora-bootstrap tag`: a folder's captions from the command line, with the sandbox's tagger."""

import json
import shutil

import pytest
from PIL import Image

from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.backends import diffusers as pipeline
from lora_bootstrap.trainer.cli.terminal.console import Console

from ...helpers import command_line


def run(*argv):
    return command_line.run("tag", *argv)


@pytest.fixture
def folder(tmp_path):
    """Two pictures: akane has no caption, hinata has one of her own."""
    pictures = tmp_path / "5_fox"
    pictures.mkdir()
    for name in ("akane", "hinata"):
        shutil.copy(PICTURES_DIR / f"{name}.png", pictures)
    (pictures / "hinata.txt").write_text("1girl, Cat_Ears, my words")
    return tmp_path


def captions(folder):
    return {path.stem: path.read_text("utf-8").strip() for path in sorted(folder.rglob("*.txt"))}


def test_pictures_without_a_caption_are_tagged_in_the_order_asked_and_the_others_left(folder, capsys):
    assert run("--dataset", folder, "--tagger", "sandbox", "--order", "--trigger", "eiei") == 0
    found = captions(folder)
    assert found["akane"].startswith("eiei, 1girl, ") and found["akane"].endswith(", white background, flat color")
    assert {"red hair", "fox ears", "white dress"} <= set(found["akane"].split(", "))
    assert found["hinata"] == "eiei, 1girl, Cat_Ears, my words"
    assert "2 of 2 captions changed" in capsys.readouterr().out


def test_captions_are_sorted_for_a_base_cleaned_and_written_as_sentences(folder):
    (folder / "5_fox" / "akane.txt").write_text("1girl, masterpiece, fox ears, smile, sitting, solo, white dress")
    assert run("--dataset", folder, "--order-by", "composition last", "--drop-noise") == 0
    assert captions(folder)["akane"] == "1girl, fox ears, sitting, smile, white dress"
    assert run("--dataset", folder, "--wording", "sentences", "--trigger", "eiei") == 0
    assert captions(folder)["akane"] == "eiei, a girl with fox ears, wearing a white dress, sitting, smiling"


def test_a_dry_run_shows_the_same_and_writes_nothing(folder, capsys):
    before = captions(folder)
    assert run("--dataset", folder, "--tagger", "sandbox", "--dry-run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert captions(folder) == before and not result["written"]
    assert [change["file"] for change in result["captions"]["changes"]] == ["akane.png"]


def test_captions_that_are_there_can_be_replaced_and_scores_kept(folder, tmp_path):
    assert run("--dataset", folder, "--tagger", "sandbox", "--merge", "replace", "--most", 3, "--scores",
               tmp_path / "scores.json") == 0
    assert len(captions(folder)["hinata"].split(", ")) == 3
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores[str(folder / "5_fox" / "akane.png")]["1girl"] == 1.0


def test_captions_are_edited_without_a_tagger(folder, tmp_path):
    (tmp_path / "alias.csv").write_text("my words,other words\n")
    assert run("--dataset", folder, "--underscores", "blanks", "--alias-file", tmp_path / "alias.csv", "--add", "solo",
               "--pattern", "^cat (.*)$", r"dog \1", "--replace", "1girl", "woman", "--remove", "fox") == 0
    assert captions(folder) == {"akane": "solo", "hinata": "woman, dog Ears, other words, solo"}


def test_looking_writes_no_captions_but_the_figures_and_the_chart(folder, tmp_path, capsys):
    before = captions(folder)
    assert run("--dataset", folder, "--statistics", "--chart", tmp_path / "chart.png", "--trigger", "", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert captions(folder) == before and result["statistics"]["pictures"] == 2
    assert Image.open(tmp_path / "chart.png").size[0] == 640


def test_a_plan_of_what_to_absorb_is_written_then_followed_as_edited(folder, tmp_path, capsys):
    plan = tmp_path / "plan.txt"
    tag = ("--dataset", folder, "--tagger", "sandbox", "--merge", "replace", "--absorb", "character", "--plan", plan)
    assert run(*tag, "--share", 0.5, "--dry-run") == 0
    assert "absorb  red hair" in plan.read_text()
    plan.write_text("keep red hair\ndelete smile\n")
    assert run(*tag, "--share", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["absorbed"] == []
    assert "red hair" in captions(folder)["akane"] and "smile" not in captions(folder)["akane"]


def test_a_budget_is_counted_by_the_bases_tokenizer_and_the_trigger_checked(folder, tiny_backbone, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "load_backbone", lambda base, precision="auto": tiny_backbone)
    assert run("--dataset", folder, "--tagger", "sandbox", "--merge", "replace", "--trigger", "smile", "--budget", 12,
               "--base", "sandbox", "--check-trigger", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert all(tiny_backbone.token_count(caption)[0] <= 12 for caption in captions(folder).values())
    assert all(change["cut"] for change in result["captions"]["changes"])
    assert "it is a tag that taggers know" in result["trigger"]["problems"] and not result["trigger"]["fit"]


def test_stopping_writes_nothing(folder, monkeypatch, capsys):
    before = captions(folder)
    monkeypatch.setattr(Console, "asked_to_stop", lambda self: True)
    assert run("--dataset", folder, "--tagger", "sandbox", "--batch", 1, "--merge", "replace") == 130
    assert captions(folder) == before


@pytest.mark.parametrize(("argv", "words"), [
    (["--dataset", "{tmp}/none"], "is not a folder"),
    (["--dataset", "{tmp}", "--tagger", "sandbx"], "Did you mean 'sandbox'"),
    (["--dataset", "{tmp}", "--tagger", "wd-vit-tagger-v3"], "turn on the download (0.4 GB)"),
    (["--dataset", "{tmp}", "--tagger", "{tmp}/none"], "is not a folder"),
    (["--dataset", "{tmp}", "--merge", "append"], "needs something to merge"),
    (["--dataset", "{tmp}", "--tagger", "sandbox", "--merge", "apend"], "Did you mean 'append'"),
    (["--dataset", "{tmp}", "--tagger", "sandbox", "--general", "2"], "from 0 to 1"),
    (["--dataset", "{tmp}", "--captioner", "blip"], "there is no captioner 'blip'"),
    (["--dataset", "{tmp}", "--budget", "75"], "needs the base model's tokenizer"),
    (["--dataset", "{tmp}", "--pattern", "(", "x"], "is wrong"),
    (["--dataset", "{tmp}", "--absorb", "charcter"], "Did you mean 'character'"),
    (["--dataset", "{tmp}", "--check-trigger"], "must be one word or tag"),
    (["--dataset", "{tmp}", "--alias-file", "{tmp}/none.csv"], "there is no file at"),
])
def test_a_users_mistake_is_one_line_and_exit_code_two(folder, capsys, argv, words):
    assert run(*[word.replace("{tmp}", str(folder)) for word in argv]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("lora-bootstrap: ") and error.count("\n") == 1
