"""Tagging and describing pictures of the graph and datasets."""

import json
from types import SimpleNamespace

import comfy.model_management
import folder_paths
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from lora_bootstrap.host import taggers
from lora_bootstrap.host.drawing.pictures import to_batch
from lora_bootstrap.nodes import tagging as nodes
from lora_bootstrap.nodes.tagging import CaptionImages, TagImages
from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, load_folder, save_samples
from lora_bootstrap.trainer.pictures.images import open_image
from lora_bootstrap.trainer.tagging import captioner, tagger

NAMES = ("akane", "hinata")
WD = "wd-vit-tagger-v3"
"""A published tagger that is not installed here."""
TAG = {"tagger": "sandbox", "download": False, "general": 0.0, "character": 0.0, "mcut": False, "exclude": "",
       "most": 0, "rating": "none", "underscores": False, "merge": "replace", "batch": 8, "keep_loaded": True}
CAPTION = {"captioner": "tiny", "detail": "normal", "prompt": "", "merge": "replace", "trigger": "", "most_tokens": 20,
           "beams": 1, "tidy": True, "batch": 2, "keep_loaded": True}


@pytest.fixture(autouse=True)
def forgotten():
    yield
    tagger.release_tagger()
    captioner.release_captioner()


@pytest.fixture
def images():
    return torch.cat([to_batch(open_image(PICTURES_DIR / f"{name}.png")) for name in NAMES])


@pytest.fixture
def dataset(host):
    save_samples(host.input / "two", [(open_image(PICTURES_DIR / f"{name}.png"), text, {"name": name})
                                      for name, text in zip(NAMES, ("", "by hand"), strict=True)])
    return load_folder(host.input / "two")


def tag(**inputs):
    return TagImages.execute(**{**TAG, **inputs})


def describe(**inputs):
    return CaptionImages.execute(**{**CAPTION, **inputs})


# -- TagImages ---------------------------------------------------------------------------------------------------------


def test_each_image_gets_its_tags_and_there_is_no_dataset_then(images, host):
    none, texts, scores = tag(images=images).args
    assert isinstance(none, ExecutionBlocker) and "Tag Images has no dataset" in none.message
    assert "red hair" in texts[0] and "blonde hair" in texts[1] and "red hair" not in texts[1]
    assert json.loads(scores)["0"]["red hair"] > 0.5
    assert host.bars[-1].updates[-1][:2] == (2, 2) and host.server.texts[-1] == ("  \n".join(texts), "7")


def test_a_dataset_gets_captions_with_scores_by_picture_and_keeps_its_files(dataset, host):
    after, texts, scores = tag(dataset=dataset).args
    assert [sample.caption for sample in after] == texts and "red hair" in texts[0]
    told = json.loads(scores)
    assert list(told) == [sample.content_hash for sample in dataset]
    assert set(told[dataset.samples[1].content_hash]) == set(texts[1].split(", "))
    assert (host.input / "two" / "hinata.txt").read_text() == "by hand\n"


def test_images_come_before_the_dataset_and_captions_that_are_kept_are_told(images, dataset):
    after, texts, _ = tag(images=images[:1], dataset=dataset, merge="keep").args
    assert len(texts) == 3 and texts[0] == texts[1] and texts[2] == "by hand" == after.samples[1].caption


def test_captions_that_are_all_kept_need_no_tagger(images, host):
    save_samples(host.input / "captioned", [(open_image(PICTURES_DIR / "akane.png"), "by hand (1)", {"name": "akane"})])
    dataset = load_folder(host.input / "captioned")
    assert TagImages.validate_inputs(WD, False, "keep") is True
    after, texts, scores = tag(dataset=dataset, tagger=WD, merge="keep").args
    assert after is dataset and texts == [r"by hand \(1\)"] and scores == "{}"
    assert host.server.texts[-1] == ("all 1 images have a caption, which is kept", "7")


def test_a_tagger_that_is_needed_and_missing_is_named_with_its_size_and_how_to_do_without(dataset):
    with pytest.raises(UserError, match=r"1 of 2 images have no caption, and tagger 'wd-vit-tagger-v3' is not in .*; "
                                        r"turn on the download \(0\.4 GB\).* Or put a \.txt"):
        tag(dataset=dataset, tagger=WD, merge="keep")
    assert "turn on the download" in TagImages.validate_inputs(WD, False, "replace")


def test_what_is_excluded_and_how_many_is_heeded(images):
    assert "white dress" in tag(images=images, most=3)[1][0]
    (text, _) = tag(images=images, exclude="red hair,\nwhite_dress", most=3)[1]
    assert len(text.split(", ")) == 3 and "red hair" not in text and "white dress" not in text


def test_a_threshold_of_nothing_is_the_makers_own(images):
    assert len(tag(images=images, general=0.01)[1][0]) > len(tag(images=images)[1][0])


def test_without_pictures_there_is_a_line_that_says_so():
    with pytest.raises(UserError, match="link images or a dataset"):
        tag()


def test_cancel_ends_it_between_two_batches(dataset, host, monkeypatch):
    asked = []
    model = SimpleNamespace(labels=(), thresholds={}, notes=(), familiarity=lambda group: (),
                            scores=lambda group: asked.append(1) or press(host))
    monkeypatch.setattr(nodes.tags, "open_tagger", lambda name, root: model)

    def press(host):
        host.management.interrupted = True
        return torch.zeros(1, 0).numpy()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        tag(dataset=dataset, batch=1)
    assert asked == [1]


def test_a_tagger_is_kept_unless_its_memory_is_wanted(images):
    tag(images=images[:1])
    assert len(tagger._kept) == 1
    tag(images=images[:1], keep_loaded=False)
    assert len(tagger._kept) == 0


def put(folder, name, file="model.onnx"):
    (folder / name).mkdir(parents=True)
    (folder / name / file).write_bytes(b"x")


def test_taggers_are_found_in_all_model_folders_and_named_with_those_that_can_be_fetched(host, tmp_path, monkeypatch):
    put(host.base / "models" / "taggers", "mine")
    put(tmp_path / "elsewhere", "other")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "taggers", ([str(tmp_path / "elsewhere")], set()))
    names = taggers.tagger_names()
    assert names[:3] == ["sandbox", "mine", "other"] and "wd-eva02-large-tagger-v3" in names
    assert taggers.tagger_root("other") == tmp_path / "elsewhere"


def test_a_tagger_that_is_not_there_is_a_red_node_unless_it_is_to_be_fetched():
    assert "turn on the download (0.4 GB)" in TagImages.validate_inputs("wd-swinv2-tagger-v3", False)
    assert TagImages.validate_inputs("wd-swinv2-tagger-v3", True) is True
    assert "no such tagger" in TagImages.validate_inputs("no such tagger", True)
    assert TagImages.validate_inputs("../x", True) is not True
    assert "'kep'" in TagImages.validate_inputs("sandbox", True, "kep")
    assert TagImages.validate_inputs("sandbox", True, None) is True, "linked"
    assert TagImages.validate_inputs("sandbox", False) is TagImages.validate_inputs(None, None) is True


def test_it_is_fetched_only_if_asked_and_only_once(host, monkeypatch, images):
    fetched = []

    def download(name, root):
        fetched.append((name, root))
        put(root, name)
        yield from ()

    monkeypatch.setattr(taggers, "download_tagger", download)
    monkeypatch.setattr(nodes.tags, "open_tagger", lambda name, root: SANDBOX)
    for _ in range(2):
        tag(images=images[:1], tagger="wd-swinv2-tagger-v3", download=True)
    assert fetched == [("wd-swinv2-tagger-v3", host.base / "models" / "taggers")]


SANDBOX = tagger.open_tagger("sandbox")


# -- CaptionImages -----------------------------------------------------------------------------------------------------


@pytest.fixture
def model(host, monkeypatch):
    put(host.base / "models" / "captioners", "tiny", "config.json")
    asked = []

    def captions(pictures, choice):
        asked.append((len(pictures), choice))
        return [f"A picture of {picture.width} pixels." for picture in pictures]

    monkeypatch.setattr(captioner, "open_captioner", lambda name, root: SimpleNamespace(captions=captions))
    return asked


def test_images_are_described_a_batch_at_a_time(model, images, host):
    none, texts = describe(images=torch.cat([images, images[:1]]), trigger="akane").args
    assert isinstance(none, ExecutionBlocker) and texts == ["akane, A picture of 512 pixels."] * 3
    assert [count for count, _ in model] == [2, 1] and host.bars[-1].updates[-1][:2] == (3, 3)


def test_a_dataset_gets_sentences_beside_its_tags(model, dataset):
    after, texts = describe(dataset=dataset, merge="tags first", detail="long").args
    assert [sample.caption for sample in after] == ["A picture of 512 pixels.", "by hand, A picture of 512 pixels."]
    assert texts == ["A picture of 512 pixels."] * 2 and model[0][1].detail == "long"


def test_a_captioner_that_is_not_there_is_a_red_node_that_says_where_to_put_one(host):
    assert nodes.captioner_names() == []
    assert "models/captioners. Put a transformers" in CaptionImages.validate_inputs(nodes.NO_CAPTIONER)
    put(host.base / "models" / "captioners", "tiny", "config.json")
    assert CaptionImages.validate_inputs("tiny") is CaptionImages.validate_inputs(None) is True
    assert CaptionImages.validate_inputs("../captioners/tiny") is not True


def test_nothing_to_describe_is_told(model):
    with pytest.raises(UserError, match="nothing to describe"):
        describe()


def test_an_empty_dataset_is_a_dataset(model):
    assert describe(dataset=Dataset(()))[0] == Dataset(())
