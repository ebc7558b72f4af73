"""Control images of edit models: paired with their images on disk, kept by whatever keeps images, told in the hash."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample, load_folder, save_samples, split_validation
from lora_bootstrap.trainer.datasets.kohya_folder import save_dataset
from lora_bootstrap.trainer.datasets.prepare import prepare
from lora_bootstrap.trainer.datasets.prepared_folder import PrepareConfig


def picture(path, size=(64, 48), colour="red", caption="turn her hair green"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    if caption:
        path.with_suffix(".txt").write_text(caption)
    return path


def halves(path, size=(64, 48)):
    """Left half black, right half white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    image.paste("white", (size[0] // 2, 0, *size))
    image.save(path)
    return path


def pairs(dataset, root):
    return [(s.path.relative_to(root).as_posix(), [c.relative_to(root).as_posix() for c in s.controls])
            for s in dataset]


@pytest.mark.parametrize("name", ["controls/a.png", "control/A.JPG", "control_images/a.webp", "a_control.png",
                                  "a-control.png"])
def test_a_control_image_is_found_by_its_name_and_is_not_trained_on(tmp_path, name):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    picture(tmp_path / name, caption="")
    dataset = load_folder(tmp_path)
    assert pairs(dataset, tmp_path) == [("a.png", [name]), ("b.png", [])]
    assert dataset.notes == ("1 of 2 images have a control image: a.png.",)
    assert dataset.paired == 1


@pytest.mark.parametrize("names", [
    ("controls/a_0.png", "controls/a_1.png", "controls/a_10.png"), ("controls/a.png", "controls_2/a.png"),
    ("controls/a_0000.png", "controls/a_0001.jpg"), ("a_control.png", "a_control_1.png", "a_control_2.png"),
    ("control_1/a.png", "control_2/a.png", "control_3/a.png")])
def test_several_control_images_keep_their_order(tmp_path, names):
    picture(tmp_path / "a.png")
    for name in reversed(names):
        picture(tmp_path / name, caption="")
    assert pairs(load_folder(tmp_path), tmp_path) == [("a.png", [*names])]


def test_a_control_image_belongs_to_the_image_of_exactly_its_name(tmp_path):
    for name in ("a.png", "a_1.png", "controls/a.png", "controls/a_1.png"):
        picture(tmp_path / name)
    assert pairs(load_folder(tmp_path), tmp_path) == [
        ("a.png", ["controls/a.png"]), ("a_1.png", ["controls/a_1.png"])]


@pytest.mark.parametrize("layout", [
    "control/{}.png",  # beside the folder of images
    "control/10_akane/{}.png",  # a tree like that of the images
    "10_akane/control/{}.png"])
def test_a_folder_of_control_images_may_be_beside_the_images_or_beside_their_folder(tmp_path, layout):
    for name in "ab":
        picture(tmp_path / "10_akane" / f"{name}.png")
        picture(tmp_path / layout.format(name), colour="blue")
    dataset = load_folder(tmp_path)
    assert pairs(dataset, tmp_path) == [(f"10_akane/{n}.png", [layout.format(n)]) for n in "ab"]
    assert [sample.repeats for sample in dataset] == [10, 10]


def test_of_a_kohya_project_the_control_images_are_found_beside_img(tmp_path):
    picture(tmp_path / "img" / "10_akane" / "a.png")
    picture(tmp_path / "control" / "a.png")
    (tmp_path / "log").mkdir()
    assert pairs(load_folder(tmp_path), tmp_path) == [("img/10_akane/a.png", ["control/a.png"])]


def test_a_folder_given_by_itself_is_used_and_must_fit(tmp_path):
    picture(tmp_path / "after" / "a.png")
    picture(tmp_path / "before" / "a.jpg")
    dataset = load_folder(tmp_path / "after", controls=tmp_path / "before")
    assert dataset.samples[0].controls == (tmp_path / "before" / "a.jpg",)
    inside = load_folder(tmp_path, controls=tmp_path / "before")
    assert pairs(inside, tmp_path) == [("after/a.png", ["before/a.jpg"])]
    (tmp_path / "before" / "a.jpg").rename(tmp_path / "before" / "0001.jpg")
    with pytest.raises(UserError, match="no image in .*before has the name of an image"):
        load_folder(tmp_path / "after", controls=tmp_path / "before")
    with pytest.raises(UserError, match="nowhere is not a folder"):
        load_folder(tmp_path / "after", controls=tmp_path / "nowhere")


def test_control_images_of_no_image_are_named_and_never_trained_on(tmp_path):
    picture(tmp_path / "one" / "a.png")
    picture(tmp_path / "one" / "controls" / "a.png")
    picture(tmp_path / "one" / "controls" / "stray.png")
    picture(tmp_path / "two" / "b.png")
    picture(tmp_path / "two" / "controls" / "ctrl_b.png")
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["a.png", "b.png"]
    assert "skipped one/controls/stray.png: it is in controls, but belongs to no image." in dataset.notes
    skipped = [note for note in dataset.notes if note.startswith("skipped folder")]
    assert len(skipped) == 1 and skipped[0].startswith("skipped folder two/controls: it seems to hold control images")


def test_a_picture_that_is_merely_called_a_control_stays_a_picture(tmp_path):
    picture(tmp_path / "remote_control.png")
    picture(tmp_path / "tv.png")
    picture(tmp_path / "tv_control.png", caption="a remote")
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["remote_control.png", "tv.png", "tv_control.png"]
    assert "tv_control.png counts as an image, not as a control image: it has a caption of its own." in dataset.notes
    picture(tmp_path / "only" / "control" / "x.png")
    assert [s.path.name for s in load_folder(tmp_path / "only")] == ["x.png"]


def test_an_image_whose_control_image_cannot_be_read_is_left_out_and_named(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    picture(tmp_path / "controls" / "a.png")
    (tmp_path / "controls" / "b.png").write_bytes(b"no image")
    dataset = load_folder(tmp_path)
    assert [s.path.name for s in dataset] == ["a.png"]
    assert any(note.startswith("skipped b.png, because of its control image:") for note in dataset.notes)


def test_the_fingerprint_tells_control_images_and_without_any_is_what_it_was(tmp_path):
    first, second = picture(tmp_path / "c.png", colour="blue"), picture(tmp_path / "d.png", colour="lime")
    plain = Sample(picture(tmp_path / "a.png"), (64, 48), "x")
    alone, with_first, with_second = (Dataset((dataclasses.replace(plain, controls=controls),)).fingerprint
                                      for controls in ((), (first,), (second,)))
    assert len({alone, with_first, with_second}) == 3
    old = repr(((plain.content_hash, "x", 1, "a"),))
    assert alone == hashlib.sha256(old.encode()).hexdigest()
    both = [Dataset((dataclasses.replace(plain, controls=controls),)).fingerprint
            for controls in ((first, second), (second, first))]
    assert both[0] != both[1]


def test_the_part_of_an_image_has_the_same_part_of_a_control_image_of_its_shape(tmp_path):
    sample = Sample(halves(tmp_path / "a.png"), (32, 48), crop=(32, 0, 64, 48),
                    controls=(halves(tmp_path / "same.png", (128, 96)), halves(tmp_path / "tall.png", (32, 96))))
    same, tall = sample.load_controls()
    assert same.size == (64, 96) and np.asarray(same).min() == 255
    assert tall.size == (32, 96) and np.asarray(tall).min() == 0


def saved(events):
    return list(events)[-1].dataset


def test_a_saved_dataset_keeps_its_control_images_and_writes_them_only_once(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "ab":
        picture(source / f"{name}.png")
        picture(source / "controls" / f"{name}.png", (32, 32), "blue")
    picture(source / "controls" / "b_1.png", (16, 32), "lime")
    list(save_dataset(load_folder(source), out, "girl"))
    dataset = load_folder(out)
    home = out / "1_girl"
    assert pairs(dataset, home) == [("a.png", ["controls/a.png"]), ("b.png", ["controls/b.png", "controls_2/b.png"])]
    assert [image.size for image in dataset.samples[1].load_controls()] == [(32, 32), (16, 32)]
    assert list(save_dataset(load_folder(source), out, "girl"))[-1].written == 0
    picture(source / "controls" / "a.png", (32, 32), "yellow")
    assert list(save_dataset(load_folder(source), out, "girl"))[-1].written == 1
    (source / "b.png").unlink()
    list(save_dataset(load_folder(source), out, "girl"))
    assert sorted(p.relative_to(home).as_posix() for p in home.rglob("*.png")) == ["a.png", "controls/a.png"]


def test_a_control_image_that_somebody_edited_is_not_overwritten(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png")
    picture(source / "controls" / "a.png", colour="blue")
    list(save_dataset(load_folder(source), out, "girl"))
    picture(out / "1_girl" / "controls" / "a.png", colour="pink", caption="")
    picture(source / "a.png", colour="orange")
    with pytest.raises(UserError, match=r"controls.a\.png was edited after it was saved"):
        list(save_dataset(load_folder(source), out, "girl"))


def test_a_saved_image_without_control_images_does_not_inherit_those_of_its_name(tmp_path):
    image = Image.new("RGB", (8, 8))
    save_samples(tmp_path, [(image, "x", {"name": "a"})], controls=[[image, image]])
    assert load_folder(tmp_path).samples[0].controls == (
        tmp_path / "controls" / "a.png", tmp_path / "controls_2" / "a.png")
    save_samples(tmp_path, [(image, "x", {"name": "a"})])
    assert load_folder(tmp_path).samples[0].controls == ()


def test_preparing_crops_and_mirrors_a_pair_alike_and_is_not_done_twice(tmp_path):
    halves(tmp_path / "in" / "a.png", (400, 200))
    halves(tmp_path / "in" / "controls" / "a.png", (200, 100))
    halves(tmp_path / "in" / "controls_2" / "a.png", (60, 90))
    config = PrepareConfig(family="sandbox", shape="square", crop="none", flip="always", background="white")
    done = list(prepare(load_folder(tmp_path / "in"), config, tmp_path / "out"))[-1]
    plain, mirrored = (sample.load_controls() for sample in done.dataset)
    assert [image.size for image in plain] == [(100, 100), (60, 90)]
    assert np.asarray(plain[0])[0, 0, 0] < 10 and np.asarray(mirrored[0])[0, 0, 0] > 245
    assert "its control image keeps its colours and background" in done.pictures[0].text
    again = list(prepare(load_folder(tmp_path / "in"), config, tmp_path / "out"))[-1]
    assert again.reused and again.dataset == done.dataset
    assert load_folder(tmp_path / "out").samples[0].controls == done.dataset.samples[0].controls
    halves(tmp_path / "in" / "controls" / "a.png", (220, 110))
    assert not list(prepare(load_folder(tmp_path / "in"), config, tmp_path / "out"))[-1].reused
    (tmp_path / "out" / "1_prepared" / "controls" / "a.png").unlink()
    assert not list(prepare(load_folder(tmp_path / "in"), config, tmp_path / "out"))[-1].reused


def test_images_that_are_held_back_keep_their_control_images(tmp_path):
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
        picture(tmp_path / "controls" / f"{name}.png")
    training, validation = split_validation(load_folder(tmp_path), 0.25, 0)
    assert (training.paired, validation.paired) == (3, 1)
    assert training.with_captions(str.upper).with_repeats(3).paired == 3
