"""Folders of images as other tools and systems leave them, from public reports."""

import os
import unicodedata

import pytest
from PIL import Image, ImageDraw

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.tagging.caption_files import has_caption_file, without_folder_names, write_captions


def picture(path, colour="red", caption=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def names(folder):
    return [sample.path.relative_to(folder).as_posix() for sample in load_folder(folder)]


# -- project folders ---------------------------------------------------------------------------------------------------


def test_of_a_kohya_project_only_img_is_trained_on_and_that_is_said(tmp_path):
    """Regularisation images and the trainer's own previews were trained as the character.
    https://github.com/bmaltais/kohya_ss/issues/613, https://github.com/bmaltais/kohya_ss/issues/3322"""
    picture(tmp_path / "img" / "3_eiei girl" / "a.png", caption="eiei, girl")
    picture(tmp_path / "reg" / "1_girl" / "r1.png")
    picture(tmp_path / "model" / "sample" / "eiei_000001.png")
    picture(tmp_path / "cover.png")
    (tmp_path / "log").mkdir()
    dataset = load_folder(tmp_path)
    assert [(s.path.name, s.repeats, s.caption) for s in dataset] == [("a.png", 3, "eiei, girl")]
    assert dataset.notes == (f"{tmp_path.name} is a project folder of a trainer: only img is read, not cover.png, log, "
                             "model, ….",)


@pytest.mark.parametrize("images", ["img", "image", "Images", "IMG"])
@pytest.mark.parametrize("beside", ["reg", "REG", "regularization", "log", "model", "sample", "Regularisation Images"])
def test_a_project_is_known_by_what_lies_beside_its_images_at_any_depth(tmp_path, images, beside):
    """https://github.com/bmaltais/kohya_ss/issues/547"""
    picture(tmp_path / "girls" / images / "2_girl" / "a.png")
    picture(tmp_path / "girls" / beside / "b.png")
    picture(tmp_path / "more" / "c.png")
    assert names(tmp_path) == [f"girls/{images}/2_girl/a.png", "more/c.png"]


@pytest.mark.parametrize("reg", ["reg", "Reg", "regularization", "regularisation_images", "reg_images", "class_images",
                                 "deep/er/REG/5_girl"])
def test_regularisation_images_are_never_trained_as_the_subject(tmp_path, reg):
    """https://github.com/bmaltais/kohya_ss/issues/613"""
    picture(tmp_path / "10_girl" / "a.png")
    picture(tmp_path / reg / "b.png")
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["a.png"]
    assert any(note.startswith("skipped folder ") and "regularisation images" in note for note in dataset.notes)


@pytest.mark.parametrize("preview", [
    "sample/eiei_000001.png", "Sample/eiei_e000002_00_20240501120000_42.png",
    "samples/0 - a girl/training-sample-2024-05-01_10-00-00-250-1-0.png",
    "my_lora/samples/1714550000000__000000250_0.jpg", "samples/anything.png"])
def test_a_trainers_previews_are_never_trained_as_the_subject(tmp_path, preview):
    """sd-scripts, OneTrainer and ai-toolkit keep previews beside what they train on or write.
    https://github.com/bmaltais/kohya_ss/issues/613"""
    picture(tmp_path / "10_girl" / "a.png")
    picture(tmp_path / preview)
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["a.png"]
    assert any("seems to hold a trainer's previews" in note for note in dataset.notes)


def test_a_folder_of_previews_alone_is_refused_with_the_reason(tmp_path):
    picture(tmp_path / "samples" / "1714550000000__000000250_0.jpg")
    with pytest.raises(UserError, match="has no usable image .* Found: skipped folder samples: it seems to hold"):
        load_folder(tmp_path)
    assert names(tmp_path / "samples") == ["1714550000000__000000250_0.jpg"], "given by itself it is wanted"


def test_folders_that_only_sound_like_a_project_are_read_as_ever(tmp_path):
    for name in ("images/a.png", "10_reg/b.png", "regina/c.png", "models/d.png", "sample pack/e.png", "log.png"):
        picture(tmp_path / "one" / name.replace("models/", "catwalk/"))
    picture(tmp_path / "two" / "samples" / "mine.png")
    assert len(load_folder(tmp_path / "one")) == 6
    assert len(load_folder(tmp_path / "two")) == 1


# -- images that are named like masks ----------------------------------------------------------------------------------


def test_an_image_that_is_named_like_a_mask_but_has_a_caption_is_trained_on(tmp_path):
    """A character's fox mask was left out of training without a word.
    https://github.com/Nerogar/OneTrainer/pull/1718, https://github.com/Nerogar/OneTrainer/issues/71"""
    picture(tmp_path / "kitsune.png", "red", "1girl, fox ears")
    picture(tmp_path / "kitsune_mask.png", "grey", "1girl, fox mask, from side")
    dataset = load_folder(tmp_path)
    assert [(s.path.name, s.mask, s.caption) for s in dataset] == [
        ("kitsune.png", None, "1girl, fox ears"), ("kitsune_mask.png", None, "1girl, fox mask, from side")]
    assert dataset.notes == ("kitsune_mask.png counts as an image, not as a mask: it has a caption of its own.",)


def test_an_image_that_is_named_like_a_mask_but_has_colours_is_trained_on(tmp_path):
    """https://github.com/Nerogar/OneTrainer/issues/71"""
    picture(tmp_path / "a.png")
    drawn = Image.new("RGB", (640, 640), "white")
    ImageDraw.Draw(drawn).ellipse((100, 100, 300, 300), fill="orange")
    drawn.save(tmp_path / "a-masklabel.png")
    dataset = load_folder(tmp_path)
    assert [(s.path.name, s.mask) for s in dataset] == [("a-masklabel.png", None), ("a.png", None)]
    assert "a-masklabel.png counts as an image, not as a mask: it has colours." in dataset.notes


def test_the_number_of_masks_is_always_said(tmp_path):
    """https://github.com/Nerogar/OneTrainer/issues/71"""
    for name in "abc":
        picture(tmp_path / f"{name}.png", caption="x")
    Image.new("L", (64, 64), 255).save(tmp_path / "a_mask.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (64, 64), 255).save(tmp_path / "masks" / "b.png")
    assert load_folder(tmp_path).notes == ("2 of 3 images have a mask: a.png, b.png.",)


# -- captions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "caption"), [
    ("A.PNG", "A.TXT"), ("B.png", "b.txt"), ("c.PNG", "C.Caption"), ("d.png", "d.png.txt"), ("e.JPG", "e.jpg.txt"),
    (unicodedata.normalize("NFD", "é.png"), "é.txt"), ("é.png", unicodedata.normalize("NFD", "É.TXT")),
    ("straße.png", "STRASSE.txt")])
def test_a_caption_of_nearly_the_images_name_is_found_used_and_written_back(tmp_path, image, caption):
    """https://github.com/kohya-ss/sd-scripts/issues/287"""
    picture(tmp_path / image)
    (tmp_path / caption).write_text("1girl, hat", encoding="utf-8")
    dataset = load_folder(tmp_path)
    assert [s.caption for s in dataset] == ["1girl, hat"]
    assert dataset.notes == (f"1 captions have nearly their image's name and are used: {caption} for {image}.",)
    assert has_caption_file(dataset.samples[0]) and without_folder_names(dataset).samples == dataset.samples
    list(write_captions(dataset.with_captions(str.upper), dataset))
    assert [s.caption for s in load_folder(tmp_path)] == ["1GIRL, HAT"]
    assert len(os.listdir(tmp_path)) == (3 if caption.lower().endswith(".caption") else 2)


def test_a_caption_of_exactly_the_images_name_comes_first_and_is_nobody_elses(tmp_path):
    for name in ("a.png", "A.png", "b.png", "same.png", "same.jpg"):
        picture(tmp_path / name)
    for name, text in {"A.txt": "great", "b.txt": "exact", "B.TXT": "other", "same.txt": "both"}.items():
        (tmp_path / name).write_text(text)
    dataset = load_folder(tmp_path)
    assert {s.path.name: s.caption for s in dataset} == {"A.png": "great", "a.png": "", "b.png": "exact",
                                                         "same.jpg": "both", "same.png": "both"}
    assert dataset.notes == ("1 of 5 images have no caption: a.png.",)


def test_two_captions_that_may_be_meant_are_named_and_neither_is_used(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "A.txt").write_text("one")
    (tmp_path / "a.TXT").write_text("two")
    dataset = load_folder(tmp_path)
    assert [s.caption for s in dataset] == [""]
    assert "which is the caption of a.png, A.txt or a.TXT? None is used; rename one like the image." in dataset.notes


def test_a_pipe_in_place_of_an_image_or_a_caption_is_not_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    picture(tmp_path / "a.png")
    for name in ("x.png", "a.txt"):
        os.mkfifo(tmp_path / name)
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["a.png"]
    assert any("skipped x.png: it is not a file" in note for note in dataset.notes)
