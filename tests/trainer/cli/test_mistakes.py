"""A mistake on the command line is told in one line before torch is imported, whatever the command."""

import argparse
import json
import subprocess
import sys

import pytest

from lora_bootstrap.trainer.cli.main import VERBS, _build_parser
from lora_bootstrap.trainer.cli.terminal.mistakes import CHECKS, check_options
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.command_line import run

BOOTSTRAP = ["bootstrap", "--picture", "a.png", "--trigger", "zqx"]
MISTAKES = (
    (["demo", "--seed", "-1"], "--seed is -1; it must be from 0"),
    ([*BOOTSTRAP, "--tags", ","], "tags are empty"),
    ([*BOOTSTRAP, "--tags", "1girl"], "there is no file at a.png"),
    ([*BOOTSTRAP, "--tags", "1girl", "--targets", "4"], "targets are (4,)"),
    (["audit", "--dataset", "/nonexistent"], "/nonexistent is not a folder"),
    (["audit", "--dataset", ".", "--purpose", "charcter"], "Did you mean 'character'"),
    (["audit", "--dataset", ".", "--family", "sdxk"], "Did you mean 'sdxl'"),
    (["audit", "--dataset", ".", "--background", "wite"], "'wite' is not a colour"),
    (["plan", "nosuch"], "base 'nosuch' is neither a known name nor a file"),
    (["plan", "sdxl", "--batch", "0"], "--batch is 0"),
    (["plan", "sdxl", "--layers", "attn"], "layers"),
    (["plan", "sdxl", "--optimizer", "adamx"], "optimizer"),
    (["plan", "sdxl", "--precision", "fp9"], "--precision"),
    (["train", "--dataset", "/nonexistent"], "/nonexistent is not a folder"),
    (["train", "--dataset", ".", "--base", "nosuch"], "'nosuch' is not a base model"),
    (["train", "--dataset", ".", "--base", "."], "it has no model_index.json"),
    (["train", "--dataset", ".", "--kind", "chracter"], "Did you mean 'character'"),
    (["train", "--dataset", ".", "--name", "a/b"], "--name 'a/b' cannot be"),
    (["train", "--dataset", ".", "--set", "steps"], "is not NAME=VALUE"),
    (["train", "--dataset", ".", "--set", "adapter.rnk=8"], "Did you mean 'adapter.rank'"),
    (["train", "--dataset", ".", "--set", "objective.weighting=snr"], "weighting"),
    (["train", "--dataset", ".", "--base-precision", "fp9"], "base precision"),
    (["train", "--dataset", ".", "--epochs", "-1"], "--epochs is -1"),
    (["train", "--dataset", ".", "--config", "no.json"], "no.json cannot be read"),
    (["train", "--dataset", ".", "--beside", "no.safetensors:0.5"], "no LoRA file at no.safetensors"),
    (["train", "--dataset", ".", "--regularisation", "/nonexistent"], "/nonexistent is not a folder"),
    (["train", "--dataset", ".", "--set", "preservation.every=0"], "preservation.every is 0; it must be 1"),
    (["finetune", "--dataset", ".", "--set", "steps"], "is not NAME=VALUE"),
    (["finetune", "--dataset", ".", "--set", "adapter.rank=8"], "adapter.rank is for a LoRA"),
    (["finetune", "--dataset", ".", "--kind", "chracter"], "Did you mean 'character'"),
    (["tag", "--dataset", "/nonexistent"], "/nonexistent is not a folder"),
    (["tag", "--dataset", ".", "--merge", "append"], "needs something to merge"),
    (["tag", "--dataset", ".", "--alias-file", "no.csv"], "there is no file at no.csv"),
    (["tag", "--dataset", ".", "--general", "35"], "--general is 35.0; it must be a number from 0 to 1"),
    (["generate", "--prompt", "x", "--lora", "no.safetensors:0.5"], "no LoRA file at no.safetensors"),
    (["generate", "--prompt", "x", "--width", "0"], "--width is 0"),
    (["generate", "--prompt", "x", "--cfg", "nan"], "--cfg is nan"),
    (["grid", "--prompt", "x", "--lora", "no.safetensors"], "no LoRA file at no.safetensors"),
    (["grid", "--lora", "no.safetensors"], "there is no prompt"),
    (["sweep", "--prompt", "x"], "there is no LoRA to sweep"),
    (["sweep", "--prompt", "x", "--run", "."], "it has no run.json"),
    (["sweep", "--prompt", "x", "--lora", "no.safetensors"], "no LoRA file at no.safetensors"),
    (["score", "/nonexistent"], "/nonexistent is not a sweep"),
    (["score", "/nonexistent", "--run", "."], "it has no run.json"),
    (["average", "."], "it has no run.json"),
    (["conflict", "no.safetensors", "no.safetensors"], "no LoRA file at no.safetensors"),
    (["merge", "no.safetensors", "no.safetensors"], "no LoRA file at no.safetensors"),
    (["merge", "a.safetensors", "b.safetensors", "--method", "sun"], "merge method"),
    (["merge", "a.safetensors", "b.safetensors", "--dtype", "fp16"], "dtype"),
    (["extract", "a.safetensors", "b.safetensors", "--rank", "0"], "rank is 0"),
    (["extract", "no.safetensors", "no.safetensors"], "there is no file at no.safetensors"),
    (["resize", "no.safetensors"], "there is no file at no.safetensors"),
    (["resize", "no.safetensors", "--rule", "sv_fro"], "unknown rule 'sv_fro'"),
    (["batch", "nowhere.toml"], "nowhere.toml is neither a character's file"),
    (["batch", "nowhere.toml", "--threads", "0"], "--threads is 0"),
    (["batch", "nowhere.toml", "--price", "H100=2"], "one number without --plan"),
    (["batch", "nowhere.toml", "--plan", "--price", "H100=two"], "--price is 'H100=two'"),
    (["farm", "nowhere.json", "--hosts", "192.168.1.5:8188"], "'192.168.1.5:8188' is not the address of a ComfyUI"),
    (["farm", "nowhere.json", "--hosts", "http://192.168.1.5:8188"], "nowhere.json is not a file"),
    (["farm", __file__, "--hosts", "http://192.168.1.5:8188", "--round", "10"], "--round is 10; it must be from 0 to"),
    (["release", "nowhere"], "nowhere is neither a run's folder nor a file"),
    (["release", "nowhere", "--version", "../1"], "version '../1' cannot be"),
    (["release", "nowhere", "--strength", "nan"], "strength is nan"),
    (["release", "nowhere", "--previews", "99"], "previews is 99"),
    (["pack", "nowhere"], "nowhere is not a folder"),
    (["pack", ".", "--dataset", "."], "is neither a run's folder nor a file of settings"),
    (["pack", ".", "--price", "-1"], "--price is -1"),
    (["pack", ".", "--card", "RTX 409"], "Did you mean 'RTX 4090'"),
    (["pack", ".", "--set", "adapter.rnk=8"], "Did you mean 'adapter.rank'"),
    (["run", "no.zip"], "no.zip is neither a file nor the folder of a job"),
    (["run", "."], "is neither a file nor the folder of a job"),
    (["import-result", "no.zip"], "there is no file at no.zip"),
    (["import-result", "no.zip", "--name", "a/b"], "--name 'a/b' cannot be"),
    (["dataset-zip", "nowhere", "a.zip"], "nowhere is not a folder"),
    (["prove", "--steps", "0"], "--steps is 0"),
    (["prove", "--dataset", "/nonexistent"], "/nonexistent is not a folder"),
    (["project", "export", "nobody", "a.zip"], "there is no project 'nobody'"),
    (["project", "import", "no.zip"], "there is no file at no.zip"),
    (["project", "feedback", "nobody", "no.txt"], "no.txt cannot be read"),
    (["bootstrap", "--picture", "a.png", "--trigger", "zqx", "--tags", "1girl", "--licence", "x" * 1001],
     "length of licence is 1001"),
    (["diff", ".", "."], "it has no run.json"),
    (["import-config", "no.toml"], "no.toml cannot be read"),
    (["info", "/nonexistent"], "no file or folder at /nonexistent"),
    (["info", "."], "neither a run nor a project"),
)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(exit code, what is told, whether torch was imported) of each of MISTAKES, all in one fresh process."""
    code = ("import contextlib, io, json, sys\nfrom lora_bootstrap.trainer.cli.main import main\n"
            "for argv in json.loads(sys.argv[1]):\n"
            "    with contextlib.redirect_stderr(io.StringIO()) as told:\n"
            "        code = main(argv)\n"
            "    print(json.dumps([code, told.getvalue(), 'torch' in sys.modules]))")
    done = subprocess.run([sys.executable, "-c", code, json.dumps([argv for argv, _ in MISTAKES])], check=False,
                          timeout=120, capture_output=True, text=True, cwd=tmp_path_factory.mktemp("empty"))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[" ".join(argv) for argv, _ in MISTAKES])
def test_a_mistake_is_told_before_torch_is_imported(told, number):
    code, error, torch_is_there = told[number]
    assert code == 2 and MISTAKES[number][1] in error and error.count("\n") == 1 and not torch_is_there


def test_every_command_has_a_mistake_that_is_tried():
    assert {argv[0] for argv, _ in MISTAKES} == {verb.name for verb in VERBS}


def options_of(verb):
    """The names under which the parser of a command keeps its options."""
    commands = next(action.choices for action in _build_parser([verb])._actions
                    if isinstance(action, argparse._SubParsersAction))
    return {action.dest for action in commands[verb]._actions}


def test_every_check_is_of_an_option_that_each_of_its_commands_has():
    offered = {verb.name: options_of(verb.name) for verb in VERBS}
    assert [check.option for check in CHECKS if not any(check.option in dests for dests in offered.values())] == []
    assert [(verb, check.option) for check in CHECKS for verb in check.verbs if check.option not in offered[verb]] == []


@pytest.mark.parametrize("verb", ["grid", "sweep"])
def test_the_seed_of_a_sweep_may_be_any_that_its_seeds_may_be(verb):
    check_options(verb, argparse.Namespace(seed=-3))
    with pytest.raises(UserError, match="must be at most"):
        check_options(verb, argparse.Namespace(seed=2**53))


def test_names_that_are_checked_without_torch_are_those_of_the_tables():
    from lora_bootstrap.trainer.backends.given_base import BASE_PRECISIONS
    from lora_bootstrap.trainer.backends.held import PRECISIONS
    from lora_bootstrap.trainer.stacks.merge import METHODS
    from lora_bootstrap.trainer.stacks.merge_settings import METHOD_NAMES

    assert tuple(PRECISIONS) == BASE_PRECISIONS and tuple(METHODS) == METHOD_NAMES


@pytest.mark.parametrize("value", [None, "", [], False])
def test_an_option_that_is_not_given_is_not_checked(value):
    check_options("train", argparse.Namespace(**{check.option: value for check in CHECKS}))


def test_a_check_of_some_commands_leaves_the_others_alone():
    options = argparse.Namespace(base="flux")
    check_options("plan", options)
    with pytest.raises(UserError, match="'flux' is not a base model"):
        check_options("train", options)


def test_a_setting_that_is_none_is_told_before_the_base_is_loaded(tiny, dataset, tmp_path, capsys, monkeypatch):
    from lora_bootstrap.trainer.cli import prove, train

    for module in (train, prove):
        monkeypatch.setattr(module, "load_backbone_quietly", lambda base: pytest.fail("the base was loaded"))
    for verb in ("train", "prove"):
        assert run(verb, "--dataset", tmp_path / "data", "--set", "adapter.rnk=8") == 2
        assert "Did you mean 'adapter.rank'" in capsys.readouterr().err
