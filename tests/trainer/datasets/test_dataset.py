"""Datasets: folders in the field's layouts, their captions, their crops, and what is held back for validation."""

import dataclasses
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json
from lora_bootstrap.trainer.datasets.dataset import (
    Dataset,
    Sample,
    decode_caption,
    load_folder,
    save_samples,
    split_validation,
)
from lora_bootstrap.trainer.pictures.crops import suggest_crops


def _picture(path, size=(8, 6), caption=None, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def _names(dataset):
    return [sample.path.name for sample in dataset]


def test_a_flat_folder_is_read_in_the_order_of_names(tmp_path):
    _picture(tmp_path / "B.png", (8, 6), "two")
    _picture(tmp_path / "a.jpg", (4, 9), "one")
    dataset = load_folder(tmp_path, default_repeats=3)
    assert [(s.path.name, s.size, s.caption, s.repeats) for s in dataset] == [
        ("a.jpg", (4, 9), "one", 3), ("B.png", (8, 6), "two", 3)]
    assert dataset.notes == ()


def test_kohya_folders_give_repeats_and_a_caption_to_those_without(tmp_path):
    _picture(tmp_path / "10_eiei21girl 1girl" / "a.png")
    _picture(tmp_path / "10_eiei21girl 1girl" / "deep" / "b.png", caption="smile")
    _picture(tmp_path / "0_unused" / "c.png")
    _picture(tmp_path / "plain" / "d.png", caption="hat")
    dataset = load_folder(tmp_path)
    assert [(s.path.name, s.caption, s.repeats) for s in dataset] == [
        ("a.png", "eiei21girl 1girl", 10), ("b.png", "smile", 10), ("d.png", "hat", 1)]
    assert any("0_unused" in note for note in dataset.notes)


def test_a_works_number_in_a_folder_name_is_no_repeat_count_and_that_is_said(tmp_path):
    for name in ("98765432_title", f"{10**20}_title", "10001_title"):
        _picture(tmp_path / name / "a.png", caption="x")
    _picture(tmp_path / "10000_title" / "b.png")
    dataset = load_folder(tmp_path, default_repeats=2)
    assert sorted((s.repeats, s.caption) for s in dataset) == [(2, "x")] * 3 + [(10_000, "title")]
    assert ("the number in 98765432_title is not taken for repeats, because it is above 10000. Each image in it counts "
            "2 times.") in dataset.notes


def test_a_year_in_a_folder_name_is_pointed_out(tmp_path):
    _picture(tmp_path / "2024_holiday" / "a.png", caption="x")
    dataset = load_folder(tmp_path)
    assert dataset.samples[0].repeats == 2024
    assert "counts 2024 times" in dataset.notes[0]


def test_subfolders_and_hidden_files_are_left_alone_if_asked(tmp_path):
    _picture(tmp_path / "a.png", caption="x")
    _picture(tmp_path / "sub" / "b.png", caption="x")
    _picture(tmp_path / ".hidden.png")
    assert _names(load_folder(tmp_path, recursive=False)) == ["a.png"]
    assert _names(load_folder(tmp_path)) == ["a.png", "b.png"]


def test_both_caption_suffixes_are_found_the_first_one_winning(tmp_path):
    for name in ("a", "b"):
        _picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.caption").write_text(f"{name} caption")
    (tmp_path / "a.txt").write_text("a txt")
    assert [s.caption for s in load_folder(tmp_path)] == ["a txt", "b caption"]
    assert [s.caption for s in load_folder(tmp_path, caption_suffixes=(".caption",))] == ["a caption", "b caption"]


def test_missing_captions_are_reported_once_with_names(tmp_path):
    for name in "abcde":
        _picture(tmp_path / f"{name}.png", caption="x" if name == "a" else None)
    assert load_folder(tmp_path).notes == ("4 of 5 images have no caption: b.png, c.png, d.png, ….",)


@pytest.mark.parametrize(("data", "caption", "encoding"), [
    ("長い髪, smile".encode(), "長い髪, smile", "utf-8"),
    ("\ufeffsmile".encode(), "smile", "utf-8"),
    ("smile, hat".encode("utf-16"), "smile, hat", "utf-16"),
    ("ロングヘア, smile".encode("cp932"), "ロングヘア, smile", "cp932"),
    ("少女".encode("cp932"), "少女", "cp932"),
    ("café, naïve".encode("cp1252"), "café, naïve", "cp1252"),
    (b"smile \x81\x8d\xff", "smile \x81\x8d\xff", "latin-1"),
    (b"smile,\r\n\r\n hat ,\n", "smile, hat", "utf-8"),
    (b"A girl.\nShe smiles.", "A girl. She smiles.", "utf-8"),
    (b"\n", "", "utf-8"),
])
def test_captions_are_decoded_whatever_their_encoding(data, caption, encoding):
    assert decode_caption(data) == (caption, encoding)


def test_no_bytes_can_make_decoding_fail():
    rng = np.random.default_rng(0)
    for length in range(64):
        text, _ = decode_caption(b"\xff\xfe"[:length % 3] + rng.bytes(length))
        assert "\n" not in text


def test_a_caption_that_is_not_utf8_is_used_and_noted(tmp_path):
    _picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("café".encode("cp1252"))
    dataset = load_folder(tmp_path)
    assert dataset.samples[0].caption == "café"
    assert dataset.notes == ("a.txt is not UTF-8; read as cp1252. Save it as UTF-8 to be sure.",)


@pytest.mark.parametrize("length", [0, 100, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, 3 << 14])
def test_a_caption_of_any_length_is_read_whole(tmp_path, length):
    _picture(tmp_path / "a.png", caption="x" * length)
    assert load_folder(tmp_path).samples[0].caption == "x" * length


def test_what_cannot_be_read_is_skipped_and_named(tmp_path):
    _picture(tmp_path / "good.png", caption="x")
    (tmp_path / "text.png").write_text("not a picture")
    _picture(tmp_path / "cut.png", (200, 200), colour="blue")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    (tmp_path / "other.gif").write_bytes(b"GIF89a")
    dataset = load_folder(tmp_path)
    assert _names(dataset) == ["good.png"]
    skipped = [note.split(":")[0] for note in dataset.notes]
    assert skipped == ["skipped cut.png", "skipped other.gif", "skipped text.png"]


def test_a_folder_without_pictures_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="has no usable image"):
        load_folder(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match="Found: skipped text.png") as caught:
        load_folder(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="default_repeats is 0"):
        load_folder(tmp_path, default_repeats=0)


def test_loading_a_folder_reads_no_pixels(tmp_path):
    for number in range(3):
        _picture(tmp_path / f"{number}.png", (3000, 3000), "x")
    load_folder(tmp_path)
    tracemalloc.start()
    load_folder(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_sample_loads_its_crop_and_refuses_one_outside(tmp_path):
    image = Image.new("RGB", (8, 6), "red")
    image.paste("blue", (4, 0, 8, 6))
    image.save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", (4, 6), crop=(4, 0, 8, 6))
    assert sample.load().size == (4, 6)
    assert sample.load().getcolors() == [(24, (0, 0, 255))]
    with pytest.raises(UserError, match="is not inside"):
        dataclasses.replace(sample, crop=(4, 0, 9, 6)).load()


def test_the_content_hash_follows_the_bytes_and_the_crop_but_not_the_place(tmp_path):
    first = Sample(_picture(tmp_path / "a.png"), (8, 6))
    same = Sample(_picture(tmp_path / "sub" / "b.png"), (8, 6))
    assert first.content_hash == same.content_hash
    assert dataclasses.replace(first, crop=(0, 0, 4, 4)).content_hash != first.content_hash
    before = first.content_hash
    _picture(tmp_path / "a.png", colour="blue")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert first.content_hash != before


def test_the_fingerprint_changes_with_anything_a_run_depends_on(tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        _picture(tmp_path / f"{name}.png", colour=colour, caption=name)
    dataset = load_folder(tmp_path)
    a, b = dataset.samples
    variants = [dataset, dataset.with_captions(str.upper), Dataset((b, a)), Dataset((a,)),
                Dataset((dataclasses.replace(a, repeats=2), b)),
                Dataset((dataclasses.replace(a, crop=(0, 0, 4, 4)), b)),
                Dataset((dataclasses.replace(a, parent="b"), b))]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert load_folder(tmp_path).fingerprint == dataset.fingerprint


def test_datasets_are_put_one_after_the_other(tmp_path):
    one = Dataset((Sample(tmp_path / "a.png", (1, 1)),), ("note", "first"))
    two = Dataset((Sample(tmp_path / "b.png", (1, 1)),), ("note", "second"))
    assert _names(one.concat(two)) == _names(Dataset.concat(one, two)) == ["a.png", "b.png"]
    assert one.concat(two).notes == ("note", "first", "second")


def test_saved_samples_come_back_with_their_parents(tmp_path):
    image = Image.effect_noise((64, 64), 40).convert("RGB")
    crops = suggest_crops(image, 3)
    save_samples(tmp_path, [(image.crop(crop.box), f"eiei, {crop.name}",
                             {"name": f"eiei_{crop.name}", "parent": "eiei", "box": list(crop.box)}) for crop in crops])
    save_samples(tmp_path, [(image, "other", {})])
    dataset = load_folder(tmp_path)
    names = sorted(crop.name for crop in crops)
    assert [(s.path.stem, s.parent, s.caption) for s in dataset] == [("0000", "0000", "other")] + [
        (f"eiei_{name}", "eiei", f"eiei, {name}") for name in names]
    assert dataset.notes == ()
    assert read_json(tmp_path / "crops.json")["eiei_whole.png"]["box"] == [0, 0, 64, 64]
    assert np.array_equal(np.asarray(dataset.samples[-1].load()), np.asarray(image))
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_bad_names_are_refused_before_anything_is_overwritten(tmp_path):
    image = Image.new("RGB", (8, 8))
    for items, message in (([(image, "", {"name": "../x"})], "is not a file name"),
                           ([(image, "", {"name": "x"}), (image, "", {"name": "x"})], "two images have the same name")):
        with pytest.raises(UserError, match=message):
            save_samples(tmp_path, items)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", ["{", "[1]", '{"a.png": "x"}', '{"a.png": {"parent": null}}'])
def test_a_strange_crops_file_does_no_harm(tmp_path, content):
    _picture(tmp_path / "a.png", caption="x")
    (tmp_path / "crops.json").write_text(content)
    assert load_folder(tmp_path).samples[0].parent == "a"


def _family(parents, children):
    return Dataset(tuple(Sample(f"/p{p}_{c}.png", (8, 8), parent=f"p{p}") for p in range(parents)
                         for c in range(children)))


@pytest.mark.parametrize(("parents", "children", "fraction", "held"), [
    (100, 1, 0.1, 10), (10, 4, 0.1, 4), (10, 4, 0.15, 4), (7, 1, 0.15, 1), (20, 5, 0.15, 15), (2, 4, 0.1, 0),
    (3, 4, 0.1, 4)])
def test_about_the_fraction_is_held_back_whole_families_at_a_time(parents, children, fraction, held):
    dataset = _family(parents, children)
    train, validation = split_validation(dataset, fraction, seed=3)
    assert len(validation) == held
    assert len(train) + len(validation) == len(dataset)
    assert not {s.parent for s in train} & {s.parent for s in validation}
    assert bool(train.notes) == (held == 0)


def test_the_split_follows_the_seed_alone():
    dataset = _family(40, 2)
    held = [tuple(_names(split_validation(dataset, 0.1, seed)[1])) for seed in range(5)]
    assert held[0] == tuple(_names(split_validation(dataset, 0.1, 0)[1]))
    assert len(set(held)) == 5
    moved = Dataset(tuple(reversed(dataset.samples)))
    assert set(_names(split_validation(moved, 0.1, 0)[1])) == set(held[0])


def test_one_picture_alone_trains_and_says_so():
    train, validation = split_validation(_family(1, 4), 0.1, seed=0)
    assert (len(train), len(validation)) == (4, 0)
    assert "no validation: the 4 images come from too few originals" in train.notes[0]
    assert split_validation(_family(2, 2), 0.0, 0)[1].samples == ()
    with pytest.raises(UserError, match="validation_fraction is 1"):
        split_validation(_family(2, 2), 1, 0)
