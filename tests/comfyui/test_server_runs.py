"""Cancel, Stop & keep, restarts and what is left of them: no step is trained twice, and nothing is lost."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file

from lora_bootstrap.trainer.training.runs import read_run

from ..helpers.server import PACK, PATIENCE, Refused, until
from ..helpers.serving import (
    EVENT,
    FEW_STEPS,
    loras,
    output_number,
    pixels,
    run_folder,
    status,
    steps_done,
    training_at,
)


def test_cancel_keeps_weights_and_state_and_the_same_graph_goes_on(server, tab, graph):
    prompt = graph("cancelled", steps=30)
    queued = tab.queue(prompt)
    training_at(tab, "cancelled")
    tab.interrupt()
    assert tab.wait(queued).status == "interrupted"
    told = status(server, "cancelled")
    kept = told["step"]
    assert told["status"] == "cancelled" and 1 <= kept < 30 and steps_done(server, "cancelled")[-1] == kept
    assert told["checkpoints"][-1]["step"] == kept
    partial = load_file(run_folder(server, "cancelled") / told["checkpoints"][-1]["filename"])
    assert any(tensor.abs().sum() > 0 for name, tensor in partial.items() if "lora_up" in name)
    assert read_run(run_folder(server, "cancelled")).state_path.is_file()

    heard = len(tab.messages)
    assert tab.run(prompt).status == "success"
    went_on = [m.data for m in tab.messages[heard:] if m.type == EVENT and m.data["status"] == "training"]
    assert went_on[0]["step"] > kept
    assert steps_done(server, "cancelled") == list(range(1, 31))
    assert status(server, "cancelled")["status"] == "finished"


def test_stop_and_keep_returns_the_partial_lora_and_the_graph_goes_on(server, tab, graph):
    prompt = graph("stopped", steps=400)
    prompt["curve"] = graph.node("PreviewImage", images=["train", output_number(server, "IMAGE")])
    queued = tab.queue(prompt)
    run = training_at(tab, "stopped")["run"]
    assert server.post("/lora_bootstrap/stop", {"run": run}) == {"stopping": True}
    result = tab.wait(queued)
    assert result.status == "success" and "curve" in result.executed and result.images("curve")
    told = status(server, "stopped")
    assert told["status"] == "stopped" and 1 <= told["step"] < 400
    kept = told["checkpoints"][-1]
    assert kept["step"] == told["step"] and f"{run}/{kept['filename']}" in loras(server)
    with pytest.raises(Refused) as refusal:
        server.post("/lora_bootstrap/stop", {"run": run})
    assert refusal.value.status == 409 and "error" in refusal.value.body
    with pytest.raises(Refused) as refusal:
        server.post("/lora_bootstrap/stop", {"run": "no such run"})
    assert refusal.value.status == 404


def test_a_stopped_run_is_trained_on_when_that_is_asked_for(server, tab, graph):
    prompt = graph("resumed", steps=400)
    queued = tab.queue(prompt)
    training_at(tab, "resumed")
    server.post("/lora_bootstrap/stop", {"run": "resumed"})
    assert tab.wait(queued).status == "success"
    kept = status(server, "resumed")["step"]
    assert tab.run(prompt).executed == (), "the graph has not changed, so it keeps the LoRA it has"
    assert server.post("/lora_bootstrap/resume", {"run": "resumed"}) == {"resuming": True}
    queued = tab.queue(prompt)
    training_at(tab, "resumed", kept + 1)
    server.post("/lora_bootstrap/stop", {"run": "resumed"})
    assert tab.wait(queued).status == "success"
    told = status(server, "resumed")
    assert told["status"] == "stopped" and told["step"] > kept
    assert steps_done(server, "resumed") == list(range(1, told["step"] + 1))


def test_a_finished_run_is_reused_also_after_a_restart_and_retrain_makes_a_new_one(server, graph):
    prompt = graph("reused")
    with server.client() as tab:
        assert tab.run(prompt).status == "success"
        assert tab.run(prompt).executed == (), "an unchanged graph is not run again"
    final = run_folder(server, "reused") / "reused.safetensors"
    written = final.stat().st_mtime_ns
    server.restart()
    told = status(server, "reused")
    assert told["status"] == "finished" and len(told["losses"]) == FEW_STEPS
    with server.client() as tab:
        result = tab.run(prompt)
        assert result.status == "success" and "train" in result.executed
        assert not [data for data in tab.of_type(EVENT) if data["status"] == "training"]
        assert final.stat().st_mtime_ns == written
        assert tab.run(graph("reused", retrain=True)).status == "success"
        assert [data for data in tab.of_type(EVENT) if data["status"] == "training"][0]["run"] == "reused-2"
    assert final.stat().st_mtime_ns == written
    again = load_file(run_folder(server, "reused-2") / "reused-2.safetensors")
    assert largest_difference(load_file(final), again) <= 1e-5


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a)


def test_a_server_killed_in_the_middle_loses_nothing(server, graph):
    """Killed after a save of the state: the run is there, and ends with the weights of one that was never killed."""
    steps = 30
    prompt = graph("killed", steps=steps)
    state = run_folder(server, "killed") / "state" / "state.safetensors"
    with server.client() as tab:
        tab.queue(prompt)
        until(state.is_file, PATIENCE, "the first save of the state")
        server.kill()
    assert not (run_folder(server, "killed") / "killed.safetensors").exists()
    server.start()
    told = status(server, "killed")
    assert told["status"] == "interrupted" and told["step"] >= 10 and told["losses"]
    with server.client() as tab:
        assert tab.run(prompt).status == "success"
        first = next(data for data in tab.of_type(EVENT) if data["status"] == "training")
        assert first["step"] > 10
        assert tab.run(graph("unharmed", steps=steps)).status == "success"
    assert steps_done(server, "killed") == list(range(1, steps + 1))
    trained = [load_file(run_folder(server, run) / f"{run}.safetensors") for run in ("killed", "unharmed")]
    assert largest_difference(*trained) <= 1e-5


def test_the_model_draws_the_same_before_and_after_it_was_trained(server, tab, graph):
    """Pixel for pixel, by the same MODEL object, with nothing of the LoRA left in it."""
    prompt = graph("harmless")
    train = prompt.pop("train")
    # The same tokens and the same steps, but other keys in the host's cache of results.
    for end, words in ((10_000, "1girl, red hair, fox ears"), (9_999, "1girl,  red hair,  fox ears")):
        prompt |= {
            "text": graph.node("CLIPTextEncode", clip=["base", 1], text=words),
            "latents": graph.node("EmptyLatentImage", width=128, height=128),
            "draw": graph.node("KSamplerAdvanced", model=["base", 0], positive=["text", 0], negative=["text", 0],
                               latent_image=["latents", 0], steps=6, cfg=3.0, noise_seed=5, end_at_step=end),
            "decode": graph.node("VAEDecode", samples=["draw", 0], vae=["base", 2]),
            "show": graph.node("PreviewImage", images=["decode", 0]),
        }
        result = tab.run(prompt)
        assert result.status == "success" and {"text", "draw"} <= set(result.executed)
        if end == 10_000:
            before = pixels(server, result.images("show")[0])
            trained = tab.run({**prompt, "train": train})
            assert trained.status == "success" and "base" not in trained.executed
        else:
            assert "base" not in result.executed
            assert (pixels(server, result.images("show")[0]) == before).all()


def test_the_lora_draws_the_same_by_every_way_it_is_handed_on(server, tab, graph):
    """TrainLora's MODEL and CLIP, its LORA_MODEL in core's loader, core's LoraLoader, and Pick Checkpoint."""
    trained = graph("ways", steps=24, kind="style")  # leaves the text encoder alone, as core's LORA_MODEL loader does
    model, clip, lora = (output_number(server, kind) for kind in ("MODEL", "CLIP", "LORA_MODEL"))
    first = tab.run(trained | drawing(graph, "a", ["train", model], ["train", clip]) | {
        "core": graph.node("LoraModelLoader", model=["base", 0], lora=["train", lora], strength_model=1.0),
        **drawing(graph, "b", ["core", 0], ["base", 1]), **drawing(graph, "plain", ["base", 0], ["base", 1])})
    assert first.status == "success", first.error
    picked = [output_number(server, kind, "LoraBootstrap_PickCheckpoint") for kind in ("MODEL", "CLIP")]
    second = tab.run({
        "base": trained["base"], "run": graph.node("LoraBootstrap_LoadRun", run="ways"),
        "pick": graph.node("LoraBootstrap_PickCheckpoint", run=["run", 0], model=["base", 0], clip=["base", 1]),
        "file": graph.node("LoraLoader", model=["base", 0], clip=["base", 1], lora_name="ways/ways.safetensors"),
        **drawing(graph, "c", ["pick", picked[0]], ["pick", picked[1]]),
        **drawing(graph, "d", ["file", 0], ["file", 1])})
    assert second.status == "success", second.error
    shown = {name: pixels(server, result.images(f"{name} show")[0]).astype(int)
             for result, names in ((first, ("a", "b", "plain")), (second, "cd")) for name in names}
    assert all(np.abs(shown[name] - shown["a"]).max() <= 1 for name in "bcd")
    assert np.abs(shown["plain"] - shown["a"]).mean() > 2


def drawing(graph, name, model, clip):
    """Nodes that draw a small picture of akane with a model and a text encoder, their ids beginning with `name`."""
    return {
        f"{name} text": graph.node("CLIPTextEncode", clip=clip, text="akane, 1girl, red hair, fox ears, from side"),
        f"{name} latents": graph.node("EmptyLatentImage", width=128, height=128),
        f"{name} draw": graph.node("KSampler", model=model, positive=[f"{name} text", 0], seed=5, steps=6, cfg=2.0,
                                   negative=[f"{name} text", 0], latent_image=[f"{name} latents", 0]),
        f"{name} decode": graph.node("VAEDecode", samples=[f"{name} draw", 0], vae=["base", 2]),
        f"{name} show": graph.node("PreviewImage", images=[f"{name} decode", 0]),
    }


def test_held_back_pictures_are_measured_and_told_of(server, tab, graph):
    prompt = graph("measured")
    prompt["settings"]["inputs"] |= {"validation_fraction": 0.2, "validate_every": 8}
    assert tab.run(prompt).status == "success"
    told = status(server, "measured")["validation"]
    assert [row[0] for row in told] == [8, 16, 24] and all(0 < loss and 0 < ratio for _, loss, ratio in told)
    events = [data["validation"] for data in tab.of_type(EVENT) if data["validation"]]
    assert [row[0] for row in events] == [8, 16, 24] and np.allclose(events, told)


def test_a_picture_that_changes_in_the_folder_makes_another_run(server, tab, graph):
    folder = server.base / "input" / "mine"
    shutil.copytree(PACK / "sandbox" / "dataset" / "akane", folder)
    prompt = graph("watched", steps=4)
    prompt["data"]["inputs"]["folder"] = "mine"
    assert tab.run(prompt).status == "success"
    assert tab.run(prompt).executed == ()
    next(folder.glob("*.txt")).write_text("1girl, from a new caption\n", "utf-8")
    result = tab.run(prompt)
    assert result.status == "success" and {"data", "train"} <= set(result.executed)
    assert run_folder(server, "watched-2").is_dir() and status(server, "watched")["run"] == "watched-2"
