"""Regularisation images: of the class, with captions of their own, by turns with the images of what is learnt."""

import json

import pytest

from lora_bootstrap.trainer.audits.checks import caption_findings, regularisation_findings
from lora_bootstrap.trainer.common.cache_folder import SharedCache
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.datasets.recorded import read_images
from lora_bootstrap.trainer.lora.tensors import TensorFile
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.training.epochs import Epoch
from lora_bootstrap.trainer.training.events import RunStarted
from lora_bootstrap.trainer.training.feed import Feed
from lora_bootstrap.trainer.training.preserving.regularisation import as_regularisation
from lora_bootstrap.trainer.training.presets import plan_training
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.short_runs import losses, run, run_in_two_parts, same_weights, short_config
from ...helpers.tiny import make_dataset


@pytest.fixture
def classes(tmp_path):
    """Two regularisation images, three repeats each, in the folders of a kohya project."""
    make_dataset(tmp_path / "reg" / "3_girl", count=2, seed=5)
    return load_folder(tmp_path / "reg")


def test_every_second_batch_is_of_regularisation_images_without_the_trigger(tiny_backbone, dataset, classes, tmp_path):
    feed = Feed(tiny_backbone, dataset.concat(as_regularisation(classes)),
                short_config(**{"data.prior_loss_weight": 0.25}), SharedCache(tmp_path / "cache", None))
    batches = [[(feed.samples[draw.sample].regularisation, draw.caption) for draw in feed.draws(index)]
               for index in range(12)]
    assert [{kind for kind, _ in batch} for batch in batches] == [{False}, {True}] * 6
    assert all(caption.startswith("zqx") is not kind for batch in batches for kind, caption in batch)
    assert [feed.batch(index).weight for index in range(4)] == [1.0, 0.25, 1.0, 0.25]
    seen = {draw.sample for index in range(0, 6, 2) for draw in feed.draws(index)}
    assert seen == set(range(len(dataset))), "an epoch of the run has every training image"


def test_regularisation_doubles_the_steps_of_an_epoch_and_of_a_preset(dataset, classes):
    config, both = short_config(), dataset.concat(as_regularisation(classes))
    assert Epoch.of(dataset, config, 8).steps(2) == 6 and Epoch.of(both, config, 8).steps(2) == 12
    assert Epoch.of(both, config, 8).describe(12) == (
        "6 images / batch 2, by turns with 2 regularisation images = 6 steps an epoch; 12 steps = 2 epochs")
    family = get_family("sdxl")
    plain, doubled = (plan_training(family, "character", {"data.upscale": True}, dataset, regularisation=images).config
                      for images in (None, classes))
    assert doubled.steps == 2 * plain.steps


def test_regularisation_images_of_which_none_can_be_used_are_refused(dataset, tmp_path):
    make_dataset(tmp_path / "small", count=2, size=16)
    small = as_regularisation(load_folder(tmp_path / "small"))
    with pytest.raises(UserError, match="no regularisation image can be trained on: disc0.png is left out: "):
        Epoch.of(dataset.concat(small), short_config(), 16)


def test_a_run_knows_its_regularisation_images(tiny_backbone, dataset, classes, tmp_path):
    def trained(images, **settings):
        return run(tiny_backbone, dataset, tmp_path / "runs", short_config(steps=2, **settings), regularisation=images)

    plain, events = trained(None), trained(classes)
    weighted = trained(classes, **{"data.prior_loss_weight": 0.5})
    assert losses(events)[0] == losses(plain)[0], "the first batch is of the images that are learnt"
    assert losses(weighted)[1] < losses(events)[1] and not same_weights(events, plain)
    assert trained(classes)[-1].path == events[-1].path and trained(None)[-1].path == plain[-1].path
    folder = events[-1].path.parent
    lineage = read_run(folder).lineage
    assert lineage["dataset"] == dataset.fingerprint and len(lineage["regularisation"]) == 64
    assert "regularisation" not in read_run(plain[-1].path.parent).lineage
    facts = TensorFile(events[-1].path).metadata
    assert facts["ss_num_reg_images"] == "6" and facts["ss_num_train_images"] == "6"
    assert json.loads(facts["ss_reg_dataset_dirs"]) == {"3_girl": {"n_repeats": 3, "img_count": 2}}
    assert "ss_num_reg_images" not in TensorFile(plain[-1].path).metadata
    assert [image.regularisation for image in read_images(folder)] == [False] * 6 + [True] * 2
    assert next(event for event in events if isinstance(event, RunStarted)).samples == 6


def test_a_run_with_regularisation_images_is_resumed_exactly(tiny_backbone, dataset, classes, tmp_path):
    whole, parts = (way(tiny_backbone, dataset, tmp_path / way.__name__, short_config(), regularisation=classes)
                    for way in (run, run_in_two_parts))
    assert same_weights(whole, parts)


def test_the_trigger_in_a_regularisation_caption_is_a_fault_that_is_named(tiny_backbone, dataset, classes, tmp_path):
    wrong = classes.with_captions(lambda caption: f"{caption}, ZQX" if "number 1" in caption else caption)
    noted = [event.message for event in run(tiny_backbone, dataset, tmp_path / "runs", short_config(steps=1),
                                            regularisation=wrong) if isinstance(event, Warned)]
    assert any("'zqx' is in the captions of 1 regularisation image (disc1.png)" in line for line in noted)
    assert [(finding.code, finding.severity) for finding in regularisation_findings("1girl, Zqx", "zqx")] == [
        ("trigger", "fault")]
    assert regularisation_findings("1girl, 2girls, zqxs", "zqx") == []
    assert [finding.code for finding in caption_findings("1girl", "zqx")] == ["no trigger"]
