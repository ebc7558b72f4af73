"""The table of commands: their help, what they import, and how a user's mistake ends."""

import subprocess
import sys

import pytest

from lora_bootstrap.trainer.cli.main import VERBS

from ...helpers.command_line import run

NAMES = [verb.name for verb in VERBS]
FILES = sorted({verb.module for verb in VERBS})


def imported_by(*words):
    """The modules that `lora-bootstrap <words> --help` has imported when it ends."""
    code = ("import sys\nfrom lora_bootstrap.trainer.cli.main import main\n"
            "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    print('imported', *sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], timeout=60, capture_output=True, text=True)
    return set(done.stdout.rpartition("imported ")[2].split())


def verb_files(modules):
    return sorted(name for name in FILES if f"lora_bootstrap.trainer.cli.{name}" in modules)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(name, "--help")
    assert exit_.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_help_of_all_commands_names_each_with_its_summary(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert len(set(NAMES)) == len(VERBS) and all(f"{verb.name} {verb.summary}" in text for verb in VERBS)


def test_help_comes_without_loading_torch_or_the_file_of_any_command():
    modules = imported_by()
    assert "argparse" in modules and "torch" not in modules and verb_files(modules) == []


@pytest.mark.parametrize("verb", VERBS, ids=NAMES)
def test_the_help_of_a_command_loads_its_file_alone_and_no_torch(verb):
    modules = imported_by(verb.name)
    assert verb_files(modules) == [verb.module] and "torch" not in modules and "PIL" not in modules


def test_an_unknown_command_is_a_mistake(capsys):
    with pytest.raises(SystemExit) as exit_:
        run("trian")
    assert exit_.value.code == 2 and "invalid choice: 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize("argv, words", [
    (["train", "--dataset", "{tmp}/data", "--set", "adapter.rnk=8"], "Did you mean 'adapter.rank'"),
    (["train", "--dataset", "{tmp}/data", "--set", "adapter.rank=0"], "rank is 0; it must be from 1"),
    (["train", "--dataset", "{tmp}/data", "--set", "steps"], "NAME=VALUE"),
    (["train", "--dataset", "{tmp}/data", "--kind", "chracter"], "Did you mean 'character'"),
    (["train", "--dataset", "{tmp}/nowhere"], "is not a folder"),
    (["generate", "--prompt", "x", "--lora", "{tmp}/no.safetensors:0.5"], "no LoRA file at"),
    (["grid", "--prompt", "x", "--lora", "{tmp}/no.safetensors"], "no LoRA file at"),
    (["conflict", "{tmp}/no.safetensors:0.5", "{tmp}/no.safetensors"], "no LoRA file at"),
    (["merge", "{tmp}/a.safetensors", "--method", "ties"], "ties produces whole matrices, so it needs a rank"),
    (["merge", "{tmp}/a.safetensors", "--method", "averge"], "unknown merge method 'averge'"),
    (["info", "{tmp}/no.safetensors"], "no file or folder"),
    (["info", "{tmp}/data"], "neither a run nor a project"),
    (["bootstrap", "--picture", "{tmp}/no.png", "--tags", "1girl", "--trigger", "zqx"], "no.png"),
    (["bootstrap", "--picture", "{tmp}/no.png", "--tags", ",", "--trigger", "zqx"], "tags are empty"),
])
def test_a_users_mistake_is_one_line_and_exit_code_two(tiny, tmp_path, dataset, capsys, argv, words):
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert run(*[word.replace("{tmp}", str(tmp_path)) for word in argv]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("lora-bootstrap: ") and error.count("\n") == 1


REFUSED = "finetune runs in one process, but a launcher started 2; only train can be shared."


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_of_a_launcher_prints_why_a_command_cannot_be_shared(rank, capsys, monkeypatch):
    for name, value in {"WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, str(value))
    assert run("finetune", "--dataset", ".") == 2
    assert capsys.readouterr().err.count(REFUSED) == 1, "the launcher ends the others when the first one has failed"


def test_the_package_is_a_module_that_accelerate_launches():
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "lora_bootstrap"]
    done = subprocess.run([*launch, "finetune", "--dataset", "."], timeout=300, capture_output=True, text=True)
    assert REFUSED in done.stderr and "No module" not in done.stderr
