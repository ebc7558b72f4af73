"""What a user can get wrong, in a real server: a clear message, and nothing lost."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_bootstrap.trainer.training.runs import read_run

from ..helpers.server import Refused
from ..helpers.serving import run_folder, status, status_or_none, steps_done, training_at


@pytest.mark.parametrize("node, widget, value", [
    ("data", "folder", "../../secret"),
    ("data", "folder", "/etc"),
    ("data", "folder", "no such folder"),
    ("train", "name", "../evil"),
    ("train", "name", ""),
    ("train", "trigger", ""),
    ("train", "steps", -1),
], ids=lambda value: str(value))
def test_a_mistake_shows_as_a_red_node_before_anything_runs(server, tab, graph, node, widget, value):
    prompt = graph("mistaken")
    prompt[node]["inputs"][widget] = value
    before = sorted(server.base.rglob("*.safetensors"))
    with pytest.raises(Refused) as refusal:
        tab.queue(prompt)
    assert list(refusal.value.body["node_errors"]) == [node]
    assert sorted(server.base.rglob("*.safetensors")) == before
    assert not (server.base / "output" / "evil").exists() and not (server.base / "evil").exists()


def test_a_link_out_of_the_input_folder_is_not_followed(server, tab, graph, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    link = server.base / "input" / "linked"
    link.symlink_to(tmp_path, target_is_directory=True)
    prompt = graph("mistaken")
    prompt["data"]["inputs"]["folder"] = "linked"
    try:
        with pytest.raises(Refused) as refusal:
            tab.queue(prompt)
    finally:
        link.unlink()
    assert list(refusal.value.body["node_errors"]) == ["data"]


def test_pictures_without_captions_are_refused_with_a_remedy(server, tab, graph):
    folder = server.base / "input" / "bare"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), "teal").save(folder / "bare.png")
    prompt = graph("bare", kind="style", trigger="")
    prompt["data"]["inputs"]["folder"] = "bare"
    result = tab.run(prompt)
    assert result.status == "error" and result.node == "train"
    assert "caption" in result.error and "Traceback" not in result.error
    assert status_or_none(server, "bare") in (None, "failed")


def test_a_vae_of_another_family_is_refused_with_both_numbers_of_channels(server, tab, graph):
    vae = server.base / "models" / "vae" / "sixteen.safetensors"
    vae.parent.mkdir(parents=True, exist_ok=True)
    save_file({"taesd_decoder.1.weight": torch.zeros(64, 16, 3, 3)}, vae)  # a TAESD of 16 channels, as Flux has
    prompt = graph("mismatched")
    prompt["vae"] = graph.node("VAELoader", vae_name="sixteen.safetensors")
    prompt["train"]["inputs"]["vae"] = ["vae", 0]
    result = tab.run(prompt)
    assert result.status == "error" and result.node == "train"
    assert "16" in result.error and "4" in result.error and "VAE" in result.error


def test_a_run_that_another_process_trains_is_not_trained_twice(server, tab, graph):
    prompt = graph("contested", steps=60)
    queued = tab.queue(prompt)
    training_at(tab, "contested")
    tab.interrupt()
    tab.wait(queued)
    folder = run_folder(server, "contested")
    with read_run(folder).locked():  # as another server, or the command line, would
        before = sorted((path, path.stat().st_mtime_ns) for path in folder.glob("*.safetensors"))
        result = tab.run(prompt)
        assert result.status == "error" and "already being trained" in result.error
        assert sorted((path, path.stat().st_mtime_ns) for path in folder.glob("*.safetensors")) == before
        assert status(server, "contested")["step"] >= 1
    assert tab.run(prompt).status == "success"
    assert steps_done(server, "contested") == list(range(1, 61))


def test_a_route_cannot_be_led_out_of_the_folder_of_runs(server):
    for name in ("../../output", "..", "/etc", "loras/../..", ""):
        with pytest.raises(Refused) as refusal:
            status(server, name)
        assert refusal.value.status in (400, 404) and set(refusal.value.body) == {"error"}
    with pytest.raises(Refused) as refusal:
        server.post("/lora_bootstrap/stop", ["not", "an", "object"])
    assert refusal.value.status == 400
