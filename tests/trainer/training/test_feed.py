"""What is encoded before the first step: all that the steps draw, nothing else, and nothing twice."""

import threading
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.common.tensor_cache import TensorCache
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.models.backbone import Conditioning
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Caching
from lora_bootstrap.trainer.training.feed import Feed

from ...helpers.tiny import make_dataset


class Encoders:
    """Stands in for a backbone: latents are pixels, and what is encoded is noted."""

    fingerprint, family, encoding = "tiny", SimpleNamespace(bucket_step=8), {"torch": "1"}

    def __init__(self):
        self.images, self.texts, self.counted = [], [], []

    def encode_images(self, pixels):
        self.images += [round(image.mean().item(), 6) for image in pixels]
        return pixels[:, :1, ::4, ::4]

    def encode_text(self, captions, controls=None):
        self.texts.append(list(captions))
        return Conditioning({"length": torch.tensor([[float(len(caption))] for caption in captions])})

    def token_count(self, caption):
        self.counted.append(caption)
        return len(caption.split()), 75

    def forget(self):
        self.images, self.texts, self.counted = [], [], []

    @property
    def captions(self):
        return [caption for texts in self.texts for caption in texts]


VARIED = {"data.shuffle_captions": True, "data.flip": True, "data.caption_dropout": 0.3, "data.caption_variants": 3}


def config(steps=4, **settings):
    return TrainConfig(name="fed", steps=steps, seed=3).replace(**{
        "data.resolution": 32, "data.batch_size": 2, **settings})


@pytest.fixture
def encoders():
    return Encoders()


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data", count=4)


def test_the_same_seed_draws_the_same_batches_as_in_earlier_versions(encoders, dataset):
    feed = Feed(encoders, dataset, config(**VARIED), TensorCache())
    assert [[tuple(draw) for draw in feed.draws(index)] for index in range(5)] == [
        [(2, True, "green, number 2, disc"), (3, True, "")],
        [(1, True, "green, number 1, disc"), (0, False, "green, disc, number 0")],
        [(1, True, ""), (2, False, "")],
        [(3, True, "green, number 3, disc"), (0, False, "green, number 0, disc")],
        [(0, False, "green, disc, number 0"), (2, True, "green, disc, number 2")]]
    batch = feed.batch(1)
    assert batch.captions == ("green, number 1, disc", "green, disc, number 0")
    assert batch.conditioning.tensors["length"].flatten().tolist() == [21.0, 21.0]


def test_only_what_the_steps_and_the_proofs_take_is_encoded_and_the_steps_find_it(encoders, dataset):
    settings = config(steps=2, accumulation_steps=1, **VARIED)
    feed = Feed(encoders, dataset, settings, TensorCache())
    events = list(feed.prepare())
    drawn = [draw for index in range(2) for draw in feed.draws(index)]
    assert len(encoders.images) == len({(draw.sample, draw.flip) for draw in drawn}) == 4  # of 8
    assert sorted(encoders.captions) == sorted({*(draw.caption for draw in drawn), feed.variants[0][0], ""})
    for what, total in (("latents", 4), ("text", len(encoders.captions))):
        counts = [(event.done, event.total) for event in events if isinstance(event, Caching) and event.what == what]
        assert counts[-1] == (total, total)
    encoders.forget()
    feed.batch(0), feed.batch(1), feed.proof_latents, [feed.row(text, feed.first) for text in feed.proof_captions]
    assert encoders.images == encoders.texts == []


def test_accumulated_batches_count_and_a_long_run_encodes_all(encoders, dataset):
    feed = Feed(encoders, dataset, config(steps=100, accumulation_steps=4, **VARIED), TensorCache())
    list(feed.prepare())
    assert len(encoders.images) == 8
    assert sorted(encoders.captions) == sorted({"", *(text for own in feed.variants for text in own)})
    short = Encoders()
    list(Feed(short, dataset, config(steps=1, accumulation_steps=2, **VARIED), TensorCache()).prepare())
    assert len(short.images) == 4


def test_a_resumed_run_encodes_what_is_left_of_it_and_more_steps_only_what_is_new(encoders, dataset, tmp_path):
    rest = Feed(encoders, dataset, config(steps=6, **VARIED), TensorCache())
    list(rest.prepare(range(4, 6)))
    left = {(draw.sample, draw.flip) for index in (4, 5) for draw in rest.draws(index)}
    assert len(encoders.images) == len(left | {(2, True)})  # the proof's
    for steps, expected in ((1, 2), (2, 2), (6, None)):
        cache, before = TensorCache(tmp_path / "cache"), len(list((tmp_path / "cache").glob("*")))
        encoders.forget()
        feed = Feed(encoders, dataset, config(steps=steps, **VARIED), cache)
        list(feed.prepare())
        assert len(encoders.images) + len(encoders.captions) == len(list((tmp_path / "cache").glob("*"))) - before
        assert expected in (None, len(encoders.images))
    encoders.forget()
    list(Feed(encoders, dataset, config(steps=5, **VARIED), TensorCache(tmp_path / "cache")).prepare())
    assert encoders.images == encoders.texts == []


def test_captions_are_encoded_together_the_longest_first(encoders, dataset):
    captions = ["ab, c", "d, efgh, i", "j", "ij, klm, n"]
    feed = Feed(encoders, dataset.with_captions(lambda _: captions.pop()), config(steps=8), TensorCache())
    list(feed.prepare())
    assert [len(caption) for caption in encoders.captions] == [10, 10, 5, 1] and len(encoders.texts) == 1


def test_the_tokens_of_a_caption_are_counted_once_and_with_all_its_tags(encoders, dataset):
    long = dataset.with_captions(lambda caption: ", ".join([*(f"tag {n}" for n in range(40)), "last"]))
    settings = config(**{**VARIED, "data.tag_dropout": 0.5, "data.caption_variants": 8})
    events = Feed(encoders, long, settings, TensorCache()).prepare()
    note = next(events).message
    assert "has 81 tokens" in note and "cut from" in note and isinstance(next(events), Caching)
    assert sum(caption.endswith("last") for caption in encoders.counted) == 1


def test_a_damaged_image_is_named_and_closing_ends_the_threads_that_read_ahead(encoders, tmp_path):
    dataset, before = make_dataset(tmp_path / "data", count=40), threading.active_count()
    feed = Feed(encoders, dataset, config(steps=100), TensorCache())
    stream = feed.prepare()
    while not isinstance(next(stream), Caching):
        pass
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before
    dataset.samples[7].path.write_bytes(dataset.samples[7].path.read_bytes()[:100])
    with pytest.raises(UserError, match=dataset.samples[7].path.name):
        list(Feed(encoders, dataset, config(steps=100), TensorCache()).prepare())
    assert threading.active_count() == before


def test_an_image_in_which_nothing_can_be_seen_is_named_once_and_in_the_next_run_too(encoders, tmp_path):
    for number in range(2):
        image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
        image.paste((255, 255, 255, 255), (8, 8, 20 + number, 20))  # white on white
        image.save(tmp_path / f"{number}.png")
    cache = TensorCache(tmp_path / "cache")
    for encoded in (4, 0):
        encoders.forget()
        feed = Feed(encoders, load_folder(tmp_path), config(steps=50, **{"data.flip": True}), cache)
        notes = [event.message for event in feed.prepare() if isinstance(event, Warned)]
        assert [note.partition(":")[0] for note in notes] == ["0.png", "1.png"] and "seen" in notes[0]
        assert len(encoders.images) == encoded


def test_what_other_versions_have_encoded_is_encoded_again(encoders, dataset, tmp_path):
    for version, encoded in (("1", 4), ("1", 0), ("2", 4)):
        encoders.forget()
        encoders.encoding = {"torch": version}
        list(Feed(encoders, dataset, config(steps=8), TensorCache(tmp_path / "cache")).prepare())
        assert len(encoders.images) == encoded and len(encoders.captions) == encoded


@pytest.mark.parametrize(("method", "words"), [
    ("encode_images", "disc0.* the VAE made .* sdxl-vae-fp16-fix.*--bf16-vae"),
    ("encode_text", "the caption '.*disc, number .': the text encoder made .*--bf16-text-enc"),
], ids=["image", "caption"])
def test_what_is_not_finite_is_refused_by_name_and_not_saved(encoders, dataset, tmp_path, monkeypatch, method, words):
    encode, whole = getattr(encoders, method), Conditioning({"length": torch.full((4, 1), float("nan"))})
    monkeypatch.setattr(encoders, method, (lambda pixels: encode(pixels) * float("inf"))
                        if method == "encode_images" else lambda captions: whole)
    feed = Feed(encoders, dataset, config(steps=8), TensorCache(tmp_path / "cache"))
    with pytest.raises(UserError, match=words):
        list(feed.prepare())
    count = len(list((tmp_path / "cache").glob("*.safetensors")))
    assert count == (0 if method == "encode_images" else 4)  # the images
