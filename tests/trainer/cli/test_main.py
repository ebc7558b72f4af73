"""The command line: what it prints, what it exits with, and that it reaches the real loop."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.backends import diffusers as pipeline
from lora_bootstrap.trainer.bootstrap.events import StageFinished, StageStarted
from lora_bootstrap.trainer.cli import main as cli
from lora_bootstrap.trainer.cli.console import Console
from lora_bootstrap.trainer.cli.progress import Progress, clock
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Making
from lora_bootstrap.trainer.training.events import RunStarted, StepDone, Validated

from ...helpers.lora_files import lora

COMMANDS = ("demo", "bootstrap", "train", "tag", "generate", "grid", "sweep", "score", "conflict", "merge",
            "info")
SMALL = ["--set", "adapter.rank=2", "--set", "adapter.conv_rank=0", "--set", "data.resolution=32", "--set",
         "data.batch_size=2", "--set", "steps=3", "--set", "data.upscale=true"]


@pytest.fixture
def tiny(monkeypatch, tiny_backbone):
    monkeypatch.setattr(pipeline, "load_backbone", lambda base: tiny_backbone)


def run(*argv):
    return cli.main([str(word) for word in argv])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(command, "--help")
    assert exit_.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_help_comes_without_loading_torch():
    code = "import sys; from lora_bootstrap.trainer.cli import main; main._parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_folder_is_trained_to_a_lora_and_an_identical_run_reused(tiny, tmp_path, dataset, capsys):
    argv = ["train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path / "out", *SMALL, "--json"]
    assert run(*argv) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["finished"] and first["step"] == 3 and not first["reused"]
    assert run(*argv) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["reused"] and again["lora"] == first["lora"]


def test_a_trained_lora_can_be_looked_at_generated_with_and_swept(tiny, tmp_path, dataset, capsys):
    run("train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path, "--trigger", "zqx", *SMALL)
    lora = tmp_path / "loras" / "discs" / "discs.safetensors"
    capsys.readouterr()
    assert run("info", lora, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ranks"] == [2] and facts["modules"] > 10 and "ss_network_dim" in facts["metadata"]
    size = ["--width", 32, "--height", 32, "--sample-steps", 2, "--output", tmp_path, "--json"]
    assert run("generate", "--prompt", "zqx, disc", "--lora", f"{lora}:0.5", "--count", 3, *size) == 0
    assert len(json.loads(capsys.readouterr().out)["pictures"]) == 3
    assert run("grid", "--lora", lora, "--prompt", "a", "--prompt", "b", "--strengths", 0.5, 1, *size) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["grid"] == str(tmp_path / "sweeps" / "discs" / "grid.png") and made["cells"] == 4
    assert run("info", tmp_path / "loras" / "discs") == 0


def test_a_runs_checkpoints_are_swept_and_scored(tiny, tmp_path, dataset, capsys):
    run("train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path, "--trigger", "zqx", *SMALL,
        "--set", "save_every=1")
    size = ["--width", 32, "--height", 32, "--sample-steps", 2, "--output", tmp_path, "--json"]
    capsys.readouterr()
    assert run("sweep", "--run", tmp_path / "loras" / "discs", "--checkpoints", "last 2", "--prompt", "zqx, grass",
               "--seeds", "1-2", "--without", *size) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["cells"] == 2 * 2 * 2 + 2 and not made["failed"] and Path(made["page"]).name == "grid.html"
    assert run("score", made["folder"], "--dataset", tmp_path / "data", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["rows"]) == 4 and all(row["burn"] is not None for row in scores["rows"])
    measured = {row["likeness"] is not None for row in scores["rows"]}
    assert (scores["recommended"] is not None) == measured.pop()
    assert Path(scores["csv"]).read_text().count("\n") == 5


def test_a_bootstrap_runs_through_the_real_loop(tiny, tmp_path, capsys):
    akane = world.Scene(world.HELD_OUT["akane"])
    world.draw(akane, 96).save(tmp_path / "a.png")
    few = [word for kind in ("style", "character") for name in SMALL[1::2] for word in (f"--set-{kind}", name)]
    argv = ["bootstrap", "--picture", tmp_path / "a.png", "--tags", ", ".join(world.caption_tags(akane)), "--trigger",
            "zqx", "--targets", 2, 4, "--candidates", 6, "--strengths", 1, "--sample-steps", 1, "--output", tmp_path,
            "--base", "some-folder", *few]
    assert run(*argv, "--json") == 0
    out = capsys.readouterr()
    result = json.loads(out.out)
    assert result["finished"] and result["lora"].endswith("zqx.safetensors")
    assert "[9/9] Report" in out.err and "3 steps, loss" in out.err
    assert run("info", result["folder"]) == 0
    assert "trigger: zqx" in capsys.readouterr().out


@pytest.fixture
def two(tmp_path):
    paths = tmp_path / "hero.safetensors", tmp_path / "ink.safetensors"
    return [lora(path, seed) for path, seed in zip(paths, (1, 200), strict=True)]


def test_loras_are_measured_against_each_other(two, tmp_path, capsys):
    assert run("conflict", f"{two[0]}:0.9", two[1], "--output", tmp_path, "--tolerance", 0.1, "--json") == 0
    out = capsys.readouterr()
    told = json.loads(out.out)
    assert told["verdict"] in ("fine", "strengths", "merge") and told["tolerance"] == 0.1
    assert [file["strength"] for file in told["files"]] == [0.9, 1.0]
    assert json.loads(Path(told["json"]).read_text())["lines"] == told["lines"]
    assert told["png"] == str(tmp_path / "conflicts" / "hero+ink.png") and Path(told["png"]).is_file()
    assert "layers 3/3" in out.err and "hero and ink listen to the same inputs" in out.err


def test_loras_are_merged_and_an_identical_merge_is_reused(two, tmp_path, capsys):
    argv = ["merge", f"{two[0]}:0.9", two[1], "--method", "null_space", "--output", tmp_path, "--name", "both",
            "--json"]
    assert run(*argv) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["lora"] == str(tmp_path / "loras" / "merged" / "both.safetensors") and not first["reused"]
    assert run(*argv) == 0
    assert json.loads(capsys.readouterr().out) == {**first, "reused": True}
    assert run(*argv[:-1], "--rank", 2, "--dtype", "float16") == 0
    text = capsys.readouterr().out
    assert "both-2.safetensors" in text and "Compressed to rank 2" in text
    assert run("info", tmp_path / "loras" / "merged" / "both-2.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ranks"] == [2]


def test_one_lora_is_neither_a_conflict_nor_a_merge(two, capsys):
    for command in ("conflict", "merge"):
        assert run(command, two[0]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("argv, words", [
    (["train", "--dataset", "{tmp}/data", "--set", "adapter.rnk=8"], "Did you mean 'adapter.rank'"),
    (["train", "--dataset", "{tmp}/data", "--set", "adapter.rank=0"], "rank is 0; it must be from 1"),
    (["train", "--dataset", "{tmp}/data", "--set", "steps"], "NAME=VALUE"),
    (["train", "--dataset", "{tmp}/data", "--kind", "chracter"], "Did you mean 'character'"),
    (["train", "--dataset", "{tmp}/nowhere"], "is not a folder"),
    (["generate", "--prompt", "x", "--lora", "{tmp}/no.safetensors:0.5"], "no LoRA file at"),
    (["grid", "--prompt", "x", "--lora", "{tmp}/no.safetensors"], "no LoRA file at"),
    (["conflict", "{tmp}/no.safetensors:0.5", "{tmp}/no.safetensors"], "no LoRA file at"),
    (["merge", "{tmp}/no.safetensors", "--method", "ties"], "ties makes whole matrices, so it needs a rank"),
    (["merge", "{tmp}/no.safetensors", "--method", "averge"], "unknown merge method 'averge'"),
    (["info", "{tmp}/no.safetensors"], "no file or folder"),
    (["info", "{tmp}/data"], "neither a run nor a project"),
    (["bootstrap", "--picture", "{tmp}/no.png", "--tags", "1girl", "--trigger", "zqx"], "no.png"),
    (["bootstrap", "--picture", "{tmp}/no.png", "--tags", ",", "--trigger", "zqx"], "tags are empty"),
])
def test_a_users_mistake_is_one_line_and_exit_code_two(tiny, tmp_path, dataset, capsys, argv, words):
    assert run(*[word.replace("{tmp}", str(tmp_path)) for word in argv]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("lora-bootstrap: ") and error.count("\n") == 1


def test_a_base_that_is_no_model_is_told(tmp_path, dataset, capsys):
    assert run("train", "--dataset", tmp_path / "data", "--base", tmp_path / "data") == 2
    assert "model_index.json" in capsys.readouterr().err


def test_settings_are_read_as_json_or_as_text():
    assert cli.settings(["a=1", "b=1e-3", "c=true", "d=cosine", 'e=["x"]', "f=a=b"]) == {
        "a": 1, "b": 0.001, "c": True, "d": "cosine", "e": ["x"], "f": "a=b"}


def test_a_lora_may_carry_its_strength(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert cli.lora_and_strength(f"{tmp_path}/a.safetensors:0.8") == (tmp_path / "a.safetensors", 0.8)
    assert cli.lora_and_strength(f"{tmp_path}/a.safetensors") == (tmp_path / "a.safetensors", 1.0)
    with pytest.raises(UserError, match="b.safetensors"):
        cli.lora_and_strength(f"{tmp_path}/b.safetensors:x")


def test_the_first_interrupt_asks_to_stop_and_the_second_insists(capsys):
    console = Console(as_json=False)
    console._on_interrupt()
    assert console.asked_to_stop() and "kept" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        console._on_interrupt()


def told(events, terminal):
    stream = io.StringIO()
    progress = Progress(stream, terminal)
    for event in events:
        progress(event)
    progress.close()
    return stream.getvalue()


STEPS = [RunStarted("run", 100, 0, 4, 0, 10, 12345), *(StepDone(n, 0, 1 / n, 1e-3, 0.1, 0.0) for n in range(1, 101))]


def test_a_log_gets_few_plain_lines():
    text = told([StageStarted("crops", "Crop", 1, 9), *STEPS, StageFinished("crops", "4 crops", 65, False)], False)
    assert "\r" not in text and "\x1b" not in text
    assert text.count("step ") == 5 and "step 100/100" in text
    assert text.startswith("[1/9] Crop\n") and "4 crops (1:05)" in text


def test_a_terminal_gets_one_line_that_redraws():
    text = told(STEPS, True)
    assert text.count("\r") == 100 and text.count("\n") == 2
    assert "████████████████████████ 100/100" in text


def test_other_events_have_their_line():
    text = told([Validated(50, 0.2, 0.4, 0.5), Making("round 1", 8, 8), StageFinished("x", "y", 1, True)], False)
    assert "0.50 of the base's" in text and "round 1 8/8" in text and "already there" in text


def test_a_clock_reads_naturally():
    assert [clock(s) for s in (4.21, 65, 3665)] == ["4.2 s", "1:05", "1:01:05"]
