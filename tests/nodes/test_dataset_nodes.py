"""Datasets from folders, crops and pictures of the graph."""

import os

import pytest
import torch
from PIL import Image

from lora_bootstrap.nodes import dataset as nodes
from lora_bootstrap.nodes.captions import EditTags, edited, replacements
from lora_bootstrap.nodes.pictures import pixel_hash, to_batch, to_pictures, with_caption
from lora_bootstrap.nodes.sandbox import LoadSandbox
from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.dataset import Dataset, load_folder, save_samples
from lora_bootstrap.trainer.errors import UserError
from lora_bootstrap.trainer.images import open_image


def pictures(*colours, size=(48, 32)):
    return [Image.new("RGB", size, colour) for colour in colours]


def batch(*colours, size=(48, 32)):
    return torch.cat([to_batch(picture) for picture in pictures(*colours, size=size)])


@pytest.fixture
def folder(host):
    save_samples(host.input / "girl", [(pictures("red")[0], "red hair, smile", {"name": "a"}),
                                       (pictures("blue")[0], "", {"name": "b"})])
    return "girl"


def load(folder, **widgets):
    return nodes.LoadDataset.execute(folder, **{
        "repeats": 1, "recursive": True, "trigger": "", "class_word": "", **widgets})[0]


def captions(dataset):
    return [sample.caption for sample in dataset]


# -- LoadDataset -----------------------------------------------------------------------------------------------------


def test_a_folder_is_loaded_with_its_captions(folder):
    dataset = load(folder)
    assert captions(dataset) == ["red hair, smile", ""] and [s.repeats for s in dataset] == [1, 1]
    assert dataset.notes == ("1 of 2 pictures have no caption: b.png.",)


def test_repeats_trigger_and_class_word_are_put_in(folder):
    dataset = load(folder, repeats=3, trigger="akane", class_word="1girl")
    assert captions(dataset) == ["akane, red hair, smile", "akane, 1girl"] and [s.repeats for s in dataset] == [3, 3]


def test_subfolders_are_taken_only_if_asked(folder, host):
    save_samples(host.input / "girl" / "10_more", [(pictures("green")[0], "more", {"name": "c"})])
    assert [sample.repeats for sample in load(folder)] == [10, 1, 1]
    assert len(load(folder, recursive=False)) == 2


def test_a_folder_outside_is_a_red_node_and_a_linked_one_is_not_judged_yet():
    assert "not below input/ or output/" in nodes.LoadDataset.validate_inputs("../x")
    assert "no folder 'x'" in nodes.LoadDataset.validate_inputs("x")
    assert nodes.LoadDataset.validate_inputs("sandbox/pictures") is True
    assert nodes.LoadDataset.validate_inputs(None) is True


def test_a_changed_caption_or_picture_is_noticed_and_an_unchanged_folder_is_not_run_again(folder, host):
    def mark(recursive=True):
        return nodes.LoadDataset.fingerprint_inputs(folder, recursive, repeats=1, trigger="", class_word="")

    before = mark()
    assert mark() == before
    (host.input / "girl" / "a.txt").write_text("red hair, frown", "utf-8")
    os.utime(host.input / "girl" / "a.txt", (1, 1))
    changed = mark()
    assert changed != before
    (host.input / "girl" / "c.png").write_bytes((host.input / "girl" / "a.png").read_bytes())
    assert mark() != changed
    assert mark(recursive=False) == mark()
    linked = nodes.LoadDataset.fingerprint_inputs(None, True)
    assert linked != linked, "a linked folder is looked at every time"


# -- CropPicture -----------------------------------------------------------------------------------------------------


def crop(image, tags="1girl, red hair, green eyes, white dress, full body", **widgets):
    return nodes.CropPicture.execute(image, tags, **{"count": 4, "vocabulary": "sandbox", "name": "crops", **widgets})


def test_one_picture_becomes_crops_that_are_captioned_with_what_they_show(host):
    picture = to_batch(open_image(PICTURES_DIR / "akane.png"))
    dataset, crops = crop(picture).args
    assert len(dataset) == len(crops) == 4
    assert [tuple(image.shape[1:3][::-1]) for image in crops] == [sample.size for sample in dataset]
    assert captions(dataset)[0] == "1girl, red hair, green eyes, white dress, full body"
    assert "upper body" in captions(dataset)[1] and "close-up" in captions(dataset)[2]
    assert "white dress" not in captions(dataset)[2], "a face does not show the dress"
    assert len({sample.parent for sample in dataset}) == 1, "so that they stay together when some are held back"


def test_the_crops_on_disk_are_the_dataset_and_are_written_once(host):
    picture = to_batch(open_image(PICTURES_DIR / "akane.png"))
    first = crop(picture)[0]
    home = host.output / "bootstrap" / "datasets" / "crops"
    assert sorted(s.path for s in first) == sorted(home.glob("*.png"))
    assert sorted(captions(load_folder(home))) == sorted(captions(first))
    times = {path: path.stat().st_mtime_ns for path in home.iterdir()}
    assert crop(picture)[0].fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in home.iterdir()} == times
    assert load_folder(home).samples[0].parent == first.samples[0].parent


def test_the_same_crops_with_other_tags_get_new_captions_and_no_new_picture(host):
    picture = to_batch(open_image(PICTURES_DIR / "akane.png"))
    crop(picture)
    changed = crop(picture, tags="1girl, blue hair, full body")[0]
    home = host.output / "bootstrap" / "datasets" / "crops"
    assert len(list(home.glob("*.png"))) == 4 and sorted(captions(load_folder(home))) == sorted(captions(changed))


def test_each_picture_of_a_batch_is_cropped_with_its_own_line_of_tags(host):
    both = torch.cat([to_batch(open_image(PICTURES_DIR / f"{name}.png")) for name in ("akane", "hinata")])
    dataset = crop(both, tags="1girl, red hair\n1girl, blonde hair", count=2)[0]
    assert ["red" in caption for caption in captions(dataset)] == [True, True, False, False]


@pytest.mark.parametrize("node", [nodes.CropPicture, nodes.DatasetFromImages])
def test_a_name_that_leads_elsewhere_is_a_red_node(node):
    wrapped = [lambda name: name, lambda name: [name]][node is nodes.DatasetFromImages]
    assert "cannot be a folder's" in node.validate_inputs(wrapped("../x"))
    assert node.validate_inputs(wrapped("fine")) is True


# -- DatasetFromImages -------------------------------------------------------------------------------------------------


def from_images(images, texts=("",), name="made"):
    return nodes.DatasetFromImages.execute(list(images), list(texts), [name])[0]


def test_batches_and_lists_of_any_sizes_become_one_dataset(host):
    dataset = from_images([batch("red", "blue"), batch("green", size=(16, 64))], ["a, b"])
    assert [sample.size for sample in dataset] == [(48, 32), (48, 32), (16, 64)]
    assert captions(dataset) == ["a, b"] * 3
    assert [pixel_hash(sample.load()) for sample in dataset] == [
        pixel_hash(picture) for picture in (*pictures("red", "blue"), *pictures("green", size=(16, 64)))]


def test_running_again_keeps_one_file_for_each_picture(host):
    first = from_images([batch("red", "blue")], ["one", "two"])
    again = from_images([batch("blue", "red")], ["two", "one"])
    assert len(list((host.output / "bootstrap" / "datasets" / "made").glob("*.png"))) == 2
    assert {s.path for s in first} == {s.path for s in again} and captions(again) == ["two", "one"]


def test_the_same_picture_twice_is_trained_twice_but_kept_once(host):
    dataset = from_images([batch("red", "red")])
    assert len(dataset) == 2 and len({sample.path for sample in dataset}) == 1


def test_captions_are_one_for_each_or_a_line_for_each_or_one_for_all():
    assert nodes.captions_for(["a", "b"], 2) == nodes.captions_for(["a\nb"], 2) == ["a", "b"]
    assert nodes.captions_for(["a, b"], 3) == ["a, b"] * 3
    assert nodes.captions_for([""], 2) == ["", ""]
    assert nodes.captions_for(["first line\nsecond line"], 1) == ["first line second line"]
    with pytest.raises(UserError, match="there are 2 captions for 3 pictures"):
        nodes.captions_for(["a\nb"], 3)
    with pytest.raises(UserError, match="there are 2 captions for 3 pictures"):
        nodes.captions_for(["a", "b"], 3)


# -- PreviewDataset ----------------------------------------------------------------------------------------------------


def test_the_preview_shows_a_sheet_and_tells_counts_sizes_tags_and_notes(folder, host):
    dataset = load(folder)
    passed_on, sheet, report = nodes.PreviewDataset.execute(dataset, shown=32, columns=4).args
    assert passed_on is dataset and sheet.shape == (1, 196, 382, 3)
    assert report.splitlines() == ["2 pictures, 48 x 32 pixels", "1 without a caption", "red hair (1), smile (1)",
                                   "1 of 2 pictures have no caption: b.png."]
    assert host.server.texts == [(report, "7")]


def test_the_sheet_holds_at_most_so_many_pictures_in_rows(host):
    dataset = from_images([batch("red", "blue", "green", "white", "black")])
    sheet = nodes.PreviewDataset.execute(dataset, shown=4, columns=2)[1]
    assert sheet.shape == (1, 382, 382, 3)
    red = (sheet[0] * 255).round().int().tolist()[40][90]
    assert red == [255, 0, 0]


def test_an_epoch_counts_repeats_and_an_empty_dataset_is_told():
    assert nodes.dataset_report(Dataset(())) == "no pictures"
    made = load_folder(PICTURES_DIR, default_repeats=5)
    assert nodes.dataset_report(made).splitlines()[0] == "3 pictures (15 in an epoch), 512 x 512 pixels"


def test_a_long_caption_is_cut_at_two_lines_of_whole_words():
    plain, long = (with_caption(pictures("red")[0], text, 176) for text in ("a", "word " * 60))
    assert plain.size == long.size == (176, 176) and plain.tobytes() != long.tobytes()
    assert all(pixel == (255, 255, 255) for pixel in (long.getpixel((175, y)) for y in range(142, 176)))


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_pictures_go_to_tensors_and_back_to_the_bit():
    picture = open_image(PICTURES_DIR / "akane.png")
    assert to_batch(picture).shape == (1, 512, 512, 3)
    assert to_pictures(to_batch(picture))[0].tobytes() == picture.tobytes()


def test_transparency_is_laid_on_white_and_grey_becomes_rgb():
    clear = torch.zeros(1, 2, 2, 4)
    assert to_pictures(clear)[0].getpixel((0, 0)) == (255, 255, 255)
    assert to_pictures(torch.full((1, 2, 2, 1), 1.0))[0].getpixel((0, 0)) == (255, 255, 255)


def test_the_sandbox_gives_its_picture_with_its_tags(monkeypatch):
    import sys
    from types import ModuleType

    loader = ModuleType("lora_bootstrap.sandbox.host")
    loader.load_sandbox = lambda: ("model", "clip", "vae")
    monkeypatch.setitem(sys.modules, loader.__name__, loader)
    model, clip, vae, picture, tags = LoadSandbox.execute("hinata").args
    assert (model, clip, vae) == ("model", "clip", "vae") and picture.shape == (1, 512, 512, 3)
    assert tags.startswith("1girl, blonde hair")


# -- EditTags ----------------------------------------------------------------------------------------------------------


def test_tags_are_replaced_removed_blacklisted_added_and_the_trigger_goes_first():
    tags = ["1girl", "Grey_Hair", "fox ears", "artist watermark", "smile"]
    assert edited(tags, "akane", ["solo"], ["fox_ears"], {"grey hair": "silver hair"}, ["watermark"]) == [
        "akane", "solo", "1girl", "silver hair", "smile"]


def test_a_tag_stands_once_and_the_trigger_is_not_doubled():
    assert edited(["smile", "Smile", "akane"], "akane", ["smile"]) == ["akane", "smile"]


def test_only_whole_words_are_blacklisted_and_only_whole_tags_removed():
    assert edited(["long hair", "hairclip", "red hair"], remove=["hair"]) == ["long hair", "hairclip", "red hair"]
    assert edited(["long hair", "hairclip", "red hair"], blacklist=["hair"]) == ["hairclip"]
    assert edited(["very long hair", "long red hair"], blacklist=["long hair"]) == ["long red hair"]


def test_replacing_by_nothing_removes():
    assert edited(["a", "b"], replace=replacements("a =")) == ["b"]


def test_a_line_that_is_no_replacement_is_a_red_node():
    assert "not of the form: old tag = new tag" in EditTags.validate_inputs("red hair, blue hair")
    assert EditTags.validate_inputs("grey hair = silver hair\n\nsmile=") is True
    assert EditTags.validate_inputs(None) is True


def test_the_node_edits_every_caption_and_leaves_the_files(folder, host):
    out = EditTags.execute(load(folder), trigger=" akane ", add="solo", remove="red hair,\nfrown", replace="",
                           blacklist="")[0]
    assert captions(out) == ["akane, solo, smile", "akane, solo"]
    assert (host.input / "girl" / "a.txt").read_text("utf-8") == "red hair, smile\n"
