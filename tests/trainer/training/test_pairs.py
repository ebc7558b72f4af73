"""Training on pairs of a control image and its result: which control image each row of each batch is given."""

import hashlib

import pytest
import torch
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.common.tensor_cache import TensorCache
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.models.backbone import Conditioning
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Caching, Finished, Previewed
from lora_bootstrap.trainer.training.feed import Feed
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import read_run

SIZES = ((48, 32), (32, 32), (20, 64))
"""Of the control images: none as large as its image."""


class EditBackbone:
    """The tiny model as an edit model: each caption's embeddings are moved by how red its control image is."""

    def __init__(self, plain):
        self.plain, self.form, self.drawn, self.encoded = plain, "kontext", [], []

    def __getattr__(self, name):
        return getattr(self.plain, name)

    def edit_form(self, wanted):
        return self.form if wanted == "auto" else wanted

    def encode_text(self, captions, controls=None):
        made = self.plain.encode_text(captions)
        self.encoded += [(caption, bool(controls)) for caption in captions]
        if controls is None:
            return made
        marks = torch.stack([marks_of(rows) for rows in controls.rows])
        embeds = made.tensors["prompt_embeds"] + marks.mean()
        return Conditioning({"prompt_embeds": embeds, "marks": marks})

    def sampling_prediction(self, noisy, t, caption, controls=None):
        """The plain model's own pipeline, moved by the control image as far as the captions are."""
        captions = [caption] * len(noisy) if isinstance(caption, str) else caption
        with torch.no_grad():
            return torch.cat([self.predict(noisy[row : row + 1], t[row : row + 1], self.encode_text([text], controls))
                              for row, text in enumerate(captions)])

    def predict(self, noisy, t, conditioning):
        return self.plain.predict(noisy, t, Conditioning({"prompt_embeds": conditioning.tensors["prompt_embeds"]}))

    def generate(self, prompts, *, controls=None, **settings):
        marks = controls and [marks_of(row) for row in controls.rows]
        self.drawn.append((settings["width"], settings["height"], marks))
        return self.plain.generate(prompts, **settings)


def marks_of(images):
    """(left half, right half) of the first image's red."""
    left, right = images[0][0].chunk(2, -1) if images[0].shape[-1] % 2 == 0 else (images[0][0],) * 2
    return torch.tensor([left.mean(), right.mean()])


@pytest.fixture
def backbone(tiny_backbone):
    return EditBackbone(tiny_backbone)


def control(number, size):
    """Left half dark, right half as red as its number says."""
    image = Image.new("RGB", size)
    image.paste((100 + 50 * number, 0, 0), (size[0] // 2, 0, *size))
    return image


def pairs(folder, count=3, alone=0):
    items = [(Image.new("RGB", (32, 32), (80 * number, 90, 200)), f"turn it blue {number}", {"name": f"p{number}"})
             for number in range(count + alone)]
    controls = [[control(number, SIZES[number % 3])] for number in range(count)]
    save_samples(folder, items, controls=controls + [[]] * alone)
    return load_folder(folder)


def config(**settings):
    return TrainConfig(name="pairs", steps=4).replace(**{
        "data.resolution": 32, "data.batch_size": 2, "adapter.rank": 2, **settings})


def feed(backbone, dataset, cache=None, **settings):
    made = Feed(backbone, dataset, config(**settings), cache or TensorCache())
    events = list(made.prepare())
    return made, events


def red(number):
    return (100 + 50 * number) / 255


def rows(made, count):
    """(caption, marks or None) of each row of the first batches."""
    found = []
    for index in range(count):
        batch = made.batch(index)
        assert len(batch.conditioning) == len(batch.latents)
        for row, caption in enumerate(batch.captions):
            marks = batch.conditioning.row(row).get("marks")
            found.append((caption, None if marks is None else [round(value, 2) for value in marks[0].tolist()]))
    return found


def test_each_image_is_trained_with_its_own_control_image(backbone, tmp_path):
    made, events = feed(backbone, pairs(tmp_path))
    assert all(marks == [0.0, round(red(int(caption[-1])), 2)] for caption, marks in rows(made, 12))
    assert {caption for caption, _ in rows(made, 12)} == {f"turn it blue {number}" for number in range(3)}
    notes = [event.message for event in events if isinstance(event, Warned)]
    assert notes == ["3 of 3 images have a control image, given to the model as for Flux.1 Kontext. For another model, "
                     "set edit_form in Train Settings."]
    texts = [(event.done, event.total) for event in events if isinstance(event, Caching) and event.what == "text"]
    assert texts == [(1, 3), (2, 3), (3, 3)]


def test_a_dropped_caption_keeps_its_control_image_and_mirroring_mirrors_both(backbone, tmp_path):
    made, _ = feed(backbone, pairs(tmp_path), **{"data.flip": True, "data.caption_dropout": 0.5})
    found = rows(made, 40)
    assert {"", "turn it blue 0"} <= {caption for caption, _ in found}
    assert all(marks is not None for _, marks in found)
    plain, mirrored = [0.0, round(red(1), 2)], [round(red(1), 2), 0.0]
    assert plain in [marks for _, marks in found] and mirrored in [marks for _, marks in found]


def flips(made, index):
    """Whether each row is mirrored, by its control image's halves."""
    conditioning = made.batch(index).conditioning
    return [bool(conditioning.row(row)["marks"][0, 0] > 0) for row in range(len(conditioning))]


def test_an_image_and_its_control_image_are_mirrored_together(backbone, tmp_path):
    image = control(2, (32, 32))
    save_samples(tmp_path, [(image, "x", {"name": "a"})], controls=[[image]])
    made, _ = feed(backbone, load_folder(tmp_path), **{"data.flip": True})
    by_flip = {flips(made, index)[0]: made.batch(index).latents[0] for index in range(20)}
    assert set(by_flip) == {True, False}
    mirror = backbone.encode_images(torch.flip(_pixels(image), (-1,)))[0]
    assert torch.allclose(by_flip[True], mirror) and not torch.allclose(by_flip[False], mirror)


def _pixels(image):
    from lora_bootstrap.trainer.pictures.images import to_tensor

    return to_tensor(image)[None]


def test_images_without_a_control_image_are_trained_beside_the_pairs_and_counted(backbone, tmp_path):
    made, events = feed(backbone, pairs(tmp_path, count=2, alone=1))
    found = dict(rows(made, 12))
    assert found["turn it blue 2"] is None and found["turn it blue 1"] == [0.0, round(red(1), 2)]
    assert any("2 of 3 images have a control image" in event.message and "1 without one are trained as text-to-image"
               in event.message for event in events if isinstance(event, Warned))


def test_a_control_image_is_encoded_once_and_again_when_it_its_form_or_its_ground_changes(backbone, tmp_path):
    dataset, cache = pairs(tmp_path / "data", count=1), TensorCache(tmp_path / "cache")
    for expected in (1, 0):
        backbone.encoded.clear()
        feed(backbone, dataset, cache)
        assert len(backbone.encoded) == expected
    backbone.form = "flux2"
    feed(backbone, dataset, cache)
    assert len(backbone.encoded) == 1
    control(2, (16, 16)).save(dataset.samples[0].controls[0])
    feed(backbone, dataset, cache)
    assert len(backbone.encoded) == 2
    feed(backbone, load_folder(tmp_path / "data", background="black"), cache)
    assert len(backbone.encoded) == 3


def run(backbone, dataset, root, **settings):
    return list(train(backbone, dataset, config(**settings), root, should_stop=settings.pop("stop", lambda: False)))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_control_image_or_form_is_another_run_and_the_form_is_in_its_lineage(backbone, tmp_path):
    dataset = pairs(tmp_path / "data")
    first = run(backbone, dataset, tmp_path / "runs")[-1]
    assert isinstance(first, Finished) and not first.reused
    assert read_run(first.path.parent).lineage["edit_form"] == "kontext"
    assert run(backbone, dataset, tmp_path / "runs")[-1].reused
    assert run(backbone, dataset, tmp_path / "runs", **{"data.edit_form": "kontext"})[-1].reused
    other = run(backbone, dataset, tmp_path / "runs", **{"data.edit_form": "flux2"})[-1]
    assert other.path.parent.name == "pairs-2" and not other.reused
    control(2, (32, 32)).save(dataset.samples[0].controls[0])
    assert run(backbone, dataset, tmp_path / "runs")[-1].path.parent.name == "pairs-3"


def test_a_run_with_pairs_resumes_to_the_same_weights(backbone, tmp_path):
    dataset, stops = pairs(tmp_path / "data"), iter((False, True))
    whole = run(backbone, dataset, tmp_path / "whole", **{"data.flip": True})[-1].path
    settings = config(**{"data.flip": True})
    stopped = list(train(backbone, dataset, settings, tmp_path / "parts", should_stop=lambda: next(stops)))[-1]
    assert (stopped.step, stopped.stopped) == (2, True)
    resumed = list(train(backbone, dataset, settings, tmp_path / "parts"))[-1]
    assert resumed.step == 4
    from safetensors.torch import load_file

    ours, theirs = load_file(whole), load_file(resumed.path)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_previews_are_drawn_from_the_first_pair_and_held_out_images_keep_theirs(backbone, tmp_path):
    events = run(backbone, pairs(tmp_path / "data"), tmp_path / "runs", preview_every=4, validate_every=4,
                 preview_prompts=("one", "two"), **{"data.validation_fraction": 0.34})
    assert any(isinstance(event, Previewed) for event in events)
    ((width, height, marks),) = backbone.drawn
    assert (width, height) == (32, 32) and len(marks) == 2 and marks[0].tolist() == marks[1].tolist()
    assert marks[0][1] > 0.3
    assert sum("given to the model" in event.message for event in events if isinstance(event, Warned)) == 2
    assert all(paired for caption, paired in backbone.encoded)


@pytest.mark.parametrize(("form", "count", "settings", "said"), [
    ("qwen edit", 2, {}, "has 2 control images, but Qwen-Image-Edit .* takes 1 at most"),
    ("kontext", 1, {"adapter.text_encoder": True}, "text encoder cannot be trained with control images")])
def test_what_cannot_be_trained_with_control_images_is_refused_before_the_run(backbone, tmp_path, form, count, settings,
                                                                              said):
    image = Image.new("RGB", (32, 32))
    save_samples(tmp_path / "data", [(image, "x", {"name": "a"})], controls=[[image] * count])
    backbone.form = form
    with pytest.raises(UserError, match=said):
        run(backbone, load_folder(tmp_path / "data"), tmp_path / "runs", **settings)
    assert not (tmp_path / "runs").exists()


def test_without_a_host_pairs_are_refused_in_one_line(tiny_backbone, tmp_path):
    with pytest.raises(UserError, match="has control images, but Sandbox .* outside ComfyUI cannot") as error:
        run(tiny_backbone, pairs(tmp_path / "data"), tmp_path / "runs")
    assert "\n" not in str(error.value)
