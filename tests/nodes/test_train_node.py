"""TrainLora's body: it trains, tells, stops, cancels, resumes, reuses, and refuses what cannot work."""

import math
import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from comfy.model_management import InterruptProcessingException
from PIL import Image
from safetensors.torch import load_file

from lora_bootstrap.host.backbone import contents
from lora_bootstrap.host.drawing.node_place import NodePlace
from lora_bootstrap.host.events import PROGRESS
from lora_bootstrap.host.routes.views.run_view import run_status
from lora_bootstrap.host.session import current_session
from lora_bootstrap.nodes import train as nodes
from lora_bootstrap.nodes.sockets import TrainSettings
from lora_bootstrap.nodes.train import most_controls
from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import read_run

SETTINGS = TrainSettings({"adapter.text_encoder": False, "data.shuffle_captions": False, "adapter.conv_rank": 0,
                          "preview_every": 0})


def pictures():
    return load_folder(PICTURES_DIR)


def node(name="girl", settings=SETTINGS, dataset=None, validation=None, retrain=False, **widgets):
    values = {"trigger": "akane", "kind": "character", "steps": 3, "rank": 2, "alpha": 0.0, "learning_rate": 0.0,
              "batch_size": 1, "resolution": 32, "seed": 0, **widgets}
    # as in a host: in inference mode
    with torch.inference_mode():
        return nodes.TrainLora.execute("MODEL", "CLIP", "VAE", dataset or pictures(), name=name, settings=settings,
                                       validation=validation, retrain=retrain, **values)


def events(host):
    return [data for event, data in host.server.sent if event == PROGRESS]


def statuses(host):
    return list(dict.fromkeys(data["status"] for data in events(host)))


def press_at(host, step, act):
    """Do `act` when the progress bar comes to `step`."""
    import comfy.utils

    class Bar(comfy.utils.ProgressBar):
        def update_absolute(self, value, total=None, preview=None):
            super().update_absolute(value, total, preview)
            if value == step:
                act()

    return SimpleNamespace(ProgressBar=Bar)


def cancel(host, monkeypatch, step):
    from lora_bootstrap.host import progress

    monkeypatch.setattr(progress.comfy, "utils", press_at(
        host, step, lambda: setattr(host.management, "interrupted", True)))


def stop(host, monkeypatch, step, run="girl"):
    from lora_bootstrap.host import progress

    monkeypatch.setattr(progress.comfy, "utils", press_at(host, step, lambda: current_session().trainings.stop(run)))


# -- training ----------------------------------------------------------------------------------------------------------


def test_it_trains_and_gives_every_output(adapter, host):
    out = node()
    model, clip, run, stack, weights, path, plot = out.args
    folder = host.output / "loras" / "girl"
    assert (model, clip) == ("MODEL+girl", "CLIP+girl") and path == str(folder / "girl.safetensors")
    assert stack == [("girl/girl.safetensors", 1.0, 1.0)]
    assert weights.keys() == load_file(path).keys() and any(name.endswith("lora_up.weight") for name in weights)
    assert run.finished and run.step == 3 and [row["step"] for row in run.metrics()] == [1, 2, 3]
    assert plot.shape == (1, 432, 768, 3)
    assert out.ui == {"lora_bootstrap": [{"run": "girl", "lora": "girl/girl.safetensors", "path": path, "step": 3,
                                          "steps": 3, "stopped": False, "reused": False, "notes": []}]}


def test_memory_is_released_before_and_after_and_the_lora_applied_last(adapter):
    node()
    assert adapter.calls == ["release", "release", ("apply", "girl.safetensors", 1.0, 1.0)]


def test_the_bar_the_text_and_every_tab_are_told(adapter, host):
    node()
    (bar,) = host.bars
    assert bar.node_id == "7" and [update[0] for update in bar.updates] == [0, 1, 2, 3]
    assert statuses(host) == ["preparing", "training", "finished"]
    first, last = events(host)[0], events(host)[-1]
    assert first["name"] == last["run"] == "girl" and last["node_id"] == "7" and last["step"] == last["steps"] == 3
    assert last["memory"] == 3 * 2**30 and math.isfinite(last["loss"]) and math.isfinite(last["smoothed"])
    keys = {"name", "run", "node_id", "status", "message", "step", "steps", "seconds_left", "seconds_per_step",
            "memory", "loss", "smoothed", "learning_rate", "validation", "sample", "proofs", "notes"}
    assert all(data.keys() == keys for data in events(host))
    texts = [text for text, _ in host.server.texts]
    headline = "Sandbox (drawn world, 64 px), character: 3 steps, rank 2, alpha 2 (alpha/rank 1) at rate 0.0015"
    assert any(text.startswith(headline) for text in texts)
    assert any(text.startswith("step 1/3 · loss 0.") and "3.0 GB" in text for text in texts)
    assert texts[-1].startswith("finished, 3 steps: girl.safetensors")
    assert any(" of " in text and "linear layers in the blocks" in text for text in texts)
    assert [(proof["name"], proof["passed"]) for proof in last["proofs"]] == [
        ("coverage", True), ("same text", True), ("file works", True)]
    assert host.server.told == "the tab that queued", "in another tab the node's id may be another node's"


def test_what_a_step_will_take_is_said_before_it_runs_and_what_it_took_beside_it(adapter, host):
    peaks = iter([9 * 2**30, 2**29])  # what came before the first step is no step's
    adapter.memory_plan.measured_peak = lambda base: next(peaks)
    node()
    texts = [text for text, _ in host.server.texts]
    steps = [row for row, text in enumerate(texts) if text.startswith("step ")]
    assert any(text.endswith("\nabout 0.1 GiB") for text in texts[:steps[0]])
    assert texts[-1].endswith("\nabout 0.1 GiB · measured: 0.5 GiB at the peak of a step")
    assert not any("9.0 GiB" in text for text in texts)


def test_the_control_images_of_the_image_that_has_most_are_counted(tmp_path):
    pictures = [(Image.new("RGB", (64, 64)), "red", {"name": name}) for name in "abc"]
    controls = [[], [Image.new("RGB", (32, 16))] * 2, [Image.new("RGB", (8, 8))]]
    save_samples(tmp_path / "paired", pictures, controls=controls)
    base = SimpleNamespace(edit_form=lambda wanted: {"auto": "kontext"}[wanted])
    found = most_controls(base, TrainConfig(), load_folder(tmp_path / "paired"))
    assert found.form == "kontext" and [image.shape for image in found.rows[0]] == [(3, 16, 32)] * 2
    save_samples(tmp_path / "plain", pictures)
    assert most_controls(base, TrainConfig(), load_folder(tmp_path / "plain")) is None


def test_a_device_that_measures_nothing_gets_no_figure(adapter, host):
    node()
    assert not any("measured" in text for text, _ in host.server.texts)


def test_a_training_goes_on_with_a_note_when_its_memory_cannot_be_counted(adapter, host):
    adapter.memory_plan.forecast_memory = lambda *args, **kwargs: SimpleNamespace(
        line="", note="not counted", share=0.0, offload=0.0, memory=0, refusal="")
    out = node()
    assert out.ui["lora_bootstrap"][0]["notes"] == ["not counted"] and out[2].finished


def test_a_finished_run_is_not_counted_again(adapter, host):
    node()
    adapter.memory_plan.forecast_memory = None
    assert node().ui["lora_bootstrap"][0]["reused"]


def test_previews_are_shown_in_the_bar_and_told_with_their_place(adapter, host):
    node(settings=TrainSettings({**SETTINGS.values, "preview_every": 3}))
    (bar,) = host.bars
    kind, picture, _ = bar.updates[-1][2]
    assert kind == "JPEG" and picture.size == (32, 32)
    assert [data["sample"] for data in events(host) if data["sample"]] == [
        {"step": 3, "filename": "step000003-00.png", "subfolder": "loras/girl/samples", "type": "output"}]
    config = read_run(host.output / "loras" / "girl").config
    assert config.preview_prompts[0].startswith("akane, 1girl, red hair")


def test_a_tab_with_panels_is_shown_nothing_twice_and_other_clients_all(adapter, host, monkeypatch):
    settings = TrainSettings({**SETTINGS.values, "preview_every": 3})
    current_session().tabs.add(host.server.client_id)
    node(settings=settings)
    (bar,) = host.bars
    assert host.server.texts == [] and {update[2] for update in bar.updates} == {None}
    assert events(host)[-1]["status"] == "finished"
    monkeypatch.setattr(host.server, "client_id", "a script")
    node(settings=settings, retrain=True)
    assert host.server.texts[-1][0].startswith("finished, 3 steps: girl-2.safetensors") and host.bars[-1].updates[-1][2]


def test_what_a_step_takes_in_memory_and_warnings_reach_the_panel(adapter, host):
    node()
    notes = events(host)[-1]["notes"]
    assert notes[0].startswith("about ") and run_status(host.output / "loras", "girl")["notes"] == notes


def test_validation_is_measured_by_itself_when_there_are_pictures_for_it(adapter, host):
    node(validation=pictures())
    told = [data["validation"] for data in events(host) if data["validation"]]
    assert [row[0] for row in told] == [1, 2, 3] and all(0 < ratio < 2 for _, _, ratio in told)


def test_it_trains_where_the_lora_folder_is_a_link(adapter, host):
    (host.base / "disk").mkdir()
    (host.output / "loras").rmdir()
    (host.output / "loras").symlink_to(host.base / "disk")
    out = node(settings=TrainSettings({**SETTINGS.values, "preview_every": 3}))
    assert out[3] == [("girl/girl.safetensors", 1.0, 1.0)]
    assert run_status(host.output / "loras", "girl")["samples"] == [data["sample"] for data in events(host)
                                                                    if data["sample"]]


# -- Cancel, Stop & keep, again ----------------------------------------------------------------------------------------


def test_cancel_keeps_weights_and_state_and_the_same_graph_goes_on(adapter, host, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InterruptProcessingException):
        cancel(host, patch, 2)
        node(steps=4)
    run = read_run(host.output / "loras" / "girl")
    assert [path.name for _, path in run.checkpoints()] == ["girl-step000001.safetensors",
                                                            "girl-step000002.safetensors"]
    assert run.state_path.exists() and not run.finished
    assert adapter.calls == ["release", "release"]
    assert run_status(host.output / "loras", "girl")["status"] == "cancelled" == events(host)[-1]["status"]
    host.server.sent.clear()
    resumed = node(steps=4)[2]
    assert [data["step"] for data in events(host) if data["status"] == "training"][0] == 3
    assert [row["step"] for row in resumed.metrics()] == [1, 2, 3, 4]
    whole = node(name="whole", steps=4)[4]
    again = load_file(resumed.final_path)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_stop_keeps_what_is_there_and_the_graph_goes_on_with_it(adapter, host, monkeypatch):
    with monkeypatch.context() as patch:
        stop(host, patch, 2)
        out = node(steps=4)
    assert out[5].endswith("girl-step000002.safetensors") and out[3] == [("girl/girl-step000002.safetensors", 1.0, 1.0)]
    assert out[0] == "MODEL+girl-step000002" and out.ui["lora_bootstrap"][0]["stopped"] is True
    assert statuses(host) == ["preparing", "training", "stopped"]
    assert run_status(host.output / "loras", "girl")["status"] == "stopped"
    with pytest.raises(UserError, match="'girl' is not being trained now"):
        current_session().trainings.stop("girl")
    assert node(steps=4)[2].finished, "running the node again trains it to its end"


def test_a_stopped_run_is_run_again_only_when_asked_to_go_on():
    def mark(name="stopped-run", retrain=False):
        return nodes.TrainLora.fingerprint_inputs(name, retrain, steps=3)

    before = mark()
    assert mark() == before
    current_session().trainings.resume("stopped-run")
    assert mark() != before and mark("another") == before
    assert mark(retrain=True) != mark(retrain=True), "always run"


def test_a_finished_identical_run_is_reused_and_retrain_makes_a_new_one(adapter, host):
    first = node()
    host.server.sent.clear()
    again = node()
    assert again[5] == first[5] and again.ui["lora_bootstrap"][0]["reused"] is True
    assert statuses(host) == ["preparing", "finished"] and "already exists" in events(host)[-1]["message"]
    forced = node(retrain=True)
    assert forced[2].name == "girl-2" and forced[5].endswith("girl-2.safetensors")


def test_a_run_that_another_process_trains_is_not_trained_twice(adapter, host, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InterruptProcessingException):
        cancel(host, patch, 1)
        node()
    with read_run(host.output / "loras" / "girl").locked(), pytest.raises(UserError, match="already being trained"):
        node()
    assert "already being trained" in events(host)[-1]["message"] and events(host)[-1]["status"] == "failed"
    assert node()[2].finished


def test_an_error_is_told_and_raised_and_memory_is_released(adapter, host, monkeypatch):
    def broken(*_):
        raise UserError("this model cannot be trained")

    monkeypatch.setattr(adapter.model, "HostBackbone", broken)
    with pytest.raises(UserError, match="cannot be trained"):
        node()
    assert adapter.calls == ["release", "release"] and statuses(host) == ["preparing", "failed"]
    assert run_status(host.output / "loras", "girl")["message"] == "this model cannot be trained"


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b", r"a\b", ".hidden", "..", "C:x", 'a"b', "a\0b"])
def test_a_name_that_is_no_file_name_is_a_red_node(name):
    assert nodes.TrainLora.validate_inputs(name, "akane", "character") is not True


def test_a_character_needs_a_trigger_and_a_style_does_not():
    check = nodes.TrainLora.validate_inputs
    assert "the trigger is empty; a character LoRA needs" in check("girl", " , ", "character")
    assert "an object LoRA needs" in check("girl", "", "object")
    assert "a fine-tune of kind object needs" in nodes.FineTune.validate_inputs("girl", "", "object")
    assert check("girl", "", "style") is True and check("girl", "akane", "character") is True
    assert check(None, None, None) is True, "linked values are not known yet"
    assert "Did you mean 'real person'" in check("girl", "x", "real_person")


def test_a_linked_name_is_checked_before_training(adapter):
    with pytest.raises(UserError, match="name"):
        node(name="../x")


def test_pictures_without_captions_need_a_trigger(adapter):
    bare = pictures().with_captions(lambda caption: "")
    with pytest.raises(UserError, match="none of the 3 images has a caption, and there is no trigger"):
        node(dataset=bare, trigger="", kind="style")
    assert node(dataset=bare, trigger="akane")[2].finished


# -- the config --------------------------------------------------------------------------------------------------------


def config(family="sdxl", settings=None, validation=None, **widgets):
    return planned(family, settings, validation, **widgets).config


def planned(family="sdxl", settings=None, validation=None, dataset=None, **widgets):
    job = nodes.TrainRequest(dataset or pictures(), validation, nodes.Widgets(name="girl", trigger="akane", **widgets),
                             TrainSettings({"data.upscale": True, **(settings or {})}))
    return nodes.plan_run(job, get_family(family), "bf16")


def test_zeros_are_the_preset_of_the_family():
    made = config()
    assert (made.steps, made.adapter.rank, made.adapter.alpha) == (1000, 32, 16), "half the steps, for three images"
    assert made.optimizer.learning_rate == 1e-4 and made.data.resolution == 1024 and made.precision == "bf16"
    assert made.data.trigger == "akane" and made.name == "girl" and made.kind == "character"


def test_the_number_of_steps_follows_the_images_and_the_node_says_why():
    few = planned()
    assert few.length == ("3 images / batch 1 = 3 steps an epoch; 1000 steps = 333.3 epochs (the preset's 2000 steps "
                          "are for 25 images, so at least 1000 for 3)")
    assert planned(steps=30).length == "3 images / batch 1 = 3 steps an epoch; 30 steps = 10 epochs"
    assert planned("sandbox", batch_size=2).length == "3 images / batch 2 = 2 steps an epoch; 350 steps = 175 epochs"


def test_epochs_take_the_place_of_steps():
    made = planned(epochs=10, batch_size=2, settings={"accumulation_steps": 2})
    assert made.config.steps == 10 and made.config.save_every == 3
    assert made.length == ("3 images / batch 2 / accumulation 2 = 1 step an epoch; 10 steps = 10 epochs")
    every = planned(epochs=10, settings={"save_every_epochs": 2}).config
    assert (every.steps, every.save_every, every.save_every_epochs) == (30, 0, 2)


def test_steps_and_epochs_together_are_a_red_node():
    check = nodes.TrainLora.validate_inputs
    assert "steps is 500 and epochs is 10, but only one of them can decide" in check("girl", "x", "style", 500, 10)
    assert check("girl", "x", "style", 500, 0) is True is check("girl", "x", "style", 0, 10)
    assert check("girl", "x", "style", None, 10) is True, "linked values are not known yet"
    assert "steps is -1" in check("girl", "x", "style", -1, 0) and "epochs is -2" in check("girl", "x", "style", 0, -2)
    with pytest.raises(UserError, match="steps is 500 and epochs is 10"):
        planned(steps=500, epochs=10)


def test_epochs_are_trained_and_shown_in_the_node(adapter, host):
    run = node(steps=0, epochs=2)[2]
    assert run.step == 6 and run.config.epochs == 2
    assert any("3 images / batch 1 = 3 steps an epoch; 6 steps = 2 epochs" in text for text, _ in host.server.texts)
    assert node(steps=6)[2].name == "girl", "the same training, by steps"


def test_images_held_back_are_not_counted():
    part = planned(settings={"data.validation_fraction": 0.4})
    assert part.length.startswith("2 images / batch 1 = 2 steps an epoch")
    assert planned(validation=pictures()).length.startswith("3 images / batch 1 = 3 steps an epoch")


def test_a_rank_of_ones_own_keeps_the_presets_alpha_to_rank():
    assert config(rank=8).adapter.alpha == 4
    assert config(rank=8, alpha=8.0).adapter.alpha == 8


def test_the_nodes_own_widgets_win_over_the_settings():
    made = config(settings={"optimizer.learning_rate": 5e-4, "precision": "fp32"}, learning_rate=2e-4)
    assert made.optimizer.learning_rate == 2e-4 and made.precision == "fp32"


def test_a_run_saves_four_times_and_draws_five_and_measures_ten_unless_told():
    made = config(steps=350)
    assert (made.save_every, made.preview_every, made.validate_every) == (88, 70, 0)
    assert config(steps=350, validation=pictures()).validate_every == 35
    assert config(steps=350, settings={"data.validation_fraction": 0.2}).validate_every == 35
    told = config(steps=350, validation=pictures(),
                  settings={"save_every": 10, "preview_every": 0, "validate_every": 0, "preview_prompts": ("x",)})
    assert (told.save_every, told.preview_every, told.validate_every, told.preview_prompts) == (10, 0, 0, ("x",))


def test_tooltips_name_the_presets():
    inputs = nodes.TrainLora.object_info()["input"]["required"]
    assert "Stable Diffusion XL: 16/32" in inputs["rank"][1]["tooltip"]
    assert "alpha / rank" in inputs["learning_rate"][1]["tooltip"]


# -- what a run is recognized by ---------------------------------------------------------------------------------------


def made_by(number):
    """What made a MODEL that holds something unreadable, by a node with this number."""
    links = dict.fromkeys(("model", "clip", "vae"), ["1", 0])
    graph = {"1": {"class_type": "EmptyLatentImage", "inputs": {"width": number}},
             "2": {"class_type": "LoraBootstrap_TrainLora", "inputs": links}}
    return nodes.made_by(([threading.Lock()], "CLIP", "VAE"), NodePlace("2", graph.__getitem__))


def test_a_training_over_a_patch_that_cannot_be_read_is_known_by_what_made_it(adapter, monkeypatch):
    """A patched model, trained again: https://github.com/Comfy-Org/ComfyUI/issues/4483."""
    assert made_by(8) == ""
    monkeypatch.setattr(contents, "unreadable_parts", lambda model, clip, vae: ("a lock",))
    assert made_by(8) == made_by(8) != made_by(16)


# -- what is trained beside the images ---------------------------------------------------------------------------------


def test_it_trains_with_regularisation_images_and_beside_the_loras_of_a_stack(adapter, host, monkeypatch):
    monkeypatch.setattr(nodes, "twice_notes", lambda job, place: ["style is applied twice"])
    stack = node("style")[3]
    out = node(regularisation=pictures(), beside=[(stack[0][0], 0.5, 1.0), ("None", 1.0, 1.0)])
    run, (summary,) = out[2], out.ui["lora_bootstrap"]
    assert run.lineage["beside"][0]["strength"] == 0.5 and len(run.lineage["regularisation"]) == 64
    assert any("trained beside style at strength 0.5" in note for note in summary["notes"])
    assert "style is applied twice" in summary["notes"]
    assert any("3 regularisation images: every second batch" in note for note in summary["notes"])
    assert adapter.calls[-1] == ("apply", "girl.safetensors", 1.0, 1.0), "the stack is not on the model that comes out"
    with pytest.raises(UserError, match="gone.safetensors"):
        node(beside=[("gone.safetensors", 1.0, 1.0)])


def place_below_loader(**inputs):
    """Of a TrainLora whose model comes from Load LoRA."""
    links = {"model": ["1", 0], "clip": ["1", 1], "vae": ["0", 2]}
    graph = {"0": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
             "1": {"class_type": "LoraLoader", "inputs": {"model": ["0", 0], "clip": ["0", 1], **inputs}},
             "2": {"class_type": "LoraBootstrap_TrainLora", "inputs": links}}
    return NodePlace("2", graph.__getitem__)


def test_the_loras_that_the_model_carries_are_named(adapter):
    place = place_below_loader(lora_name="ink.safetensors", strength_model=0.8, strength_clip=1.0)
    carrying = SimpleNamespace(patches={"layer": ["a patch"]})
    assert nodes.loras_on_model(carrying, place) == ["ink at 0.8"]
    assert nodes.loras_on_model(SimpleNamespace(patches={}), place) == [], "its LoRA may be on the text encoder alone"
    assert nodes.describe_carried([]) == ""
    assert nodes.describe_carried(["ink at 0.8"]).startswith("the MODEL carries ink at 0.8, so the new LoRA is trained")
    assert "so the fine-tune starts from it" in nodes.describe_carried(["ink at 0.8"], "full")


def test_a_lora_that_the_model_carries_and_the_stack_has_too_is_named(host):
    file = host.output / "loras" / "ink.safetensors"
    file.write_bytes(b"")
    place = place_below_loader(lora_name="ink.safetensors", strength_model=0.8, strength_clip=1.0)
    job = nodes.TrainRequest(pictures(), None, nodes.Widgets(name="girl"), beside=(StackEntry(path=file),))
    (note,) = nodes.twice_notes(job, place)
    assert note.startswith("ink is applied twice")
    assert nodes.twice_notes(replace(job, beside=()), place) == []


def test_a_run_records_the_loras_that_its_model_carries(adapter, monkeypatch):
    monkeypatch.setattr(nodes, "loras_on_model", lambda model, place: ["ink at 0.8"])
    out = node("carried")
    assert out[2].lineage["model_loras"] == ["ink at 0.8"]
    assert any("the MODEL carries ink at 0.8" in note for note in out.ui["lora_bootstrap"][0]["notes"])


# -- edit models -------------------------------------------------------------------------------------------------------


class QwenImage:
    """As the host calls the class of Qwen-Image and of Qwen-Image-Edit."""


@pytest.mark.parametrize(("file", "paired", "said"), [
    ("/models/qwen_image_edit_2509_fp8.safetensors", False,
     r"^qwen_image_edit_2509_fp8.safetensors is an edit model by its name, but no image has a control image"),
    ("qwen_image_edit_2509_fp8.safetensors", True, "^$"),
    ("qwen_image_2512.safetensors", True, "1 of 1 images have a control image, but qwen_image_2512.safetensors is not"),
    ("qwen_image_2512.safetensors", False, "^$"), ("", True, "^$")])
def test_a_model_whose_name_does_not_fit_the_images_is_warned_about(tmp_path, file, paired, said):
    image = Image.new("RGB", (32, 32))
    save_samples(tmp_path, [(image, "x", {"name": "a"})], controls=[[image]] if paired else [])
    warning = nodes.edit_warning(SimpleNamespace(model=QwenImage()), file, load_folder(tmp_path))
    assert re.search(said, warning) and "\n" not in warning


# -- the model itself --------------------------------------------------------------------------------------------------


def test_a_fine_tune_gives_the_model_its_difference_and_what_it_is_saved_as(adapter, host, monkeypatch):
    saved = []
    monkeypatch.setattr(nodes, "save_whole_model", lambda *given: saved.append(given) or "whole.safetensors")
    settings = TrainSettings({**SETTINGS.values, "adapter.text_encoder": True, "optimizer.name": "adamw"})
    outputs = {}
    for save in (nodes.DIFFERENCE, nodes.WHOLE):
        with torch.inference_mode():
            outputs[save] = nodes.FineTune.execute(
                "MODEL", "CLIP", "VAE", pictures(), retrain=False, save=save, settings=settings, name="tuned",
                trigger="akane", kind="character", steps=2, learning_rate=0.0, batch_size=1, resolution=32, seed=0,
                optimizer="adafactor").args
    model, run, stack, path, whole, plot = outputs[nodes.DIFFERENCE]
    assert (model, whole, stack) == ("MODEL+tuned", "", [("tuned/tuned.safetensors", 1.0, 1.0)])
    assert run.config.method == "full" and run.config.optimizer.name == "adafactor" and run.step == 2
    assert any(name.endswith(".diff_b") for name in load_file(path)) and plot.shape == (1, 432, 768, 3)
    assert outputs[nodes.WHOLE][4] == "whole.safetensors" and saved == [("MODEL", run.final_path)]
