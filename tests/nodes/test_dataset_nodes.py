"""Datasets from folders, crops and pictures of the graph."""

import os

import pytest
import torch
from PIL import Image

from lora_bootstrap.host.drawing.pictures import short_pixel_hash, to_batch, to_pictures, with_caption
from lora_bootstrap.nodes import dataset as nodes
from lora_bootstrap.nodes.sandbox import LoadSandbox
from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, load_folder, save_samples
from lora_bootstrap.trainer.pictures.images import open_image


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
    assert dataset.notes == ("1 of 2 images have no caption: b.png.",)


def test_what_was_left_out_or_decided_is_shown_in_the_node_as_on_the_command_line(folder, host):
    for number in range(9):
        (host.input / folder / f"{number}.png").write_bytes(b"no image")
    save_samples(host.input / folder / "reg", [(pictures("red")[0], "", {"name": "r"})])
    dataset = load(folder)
    shown = host.server.texts[-1][0].split("  \n")
    assert shown[0] == "2 images" and len(shown) == 10 and shown[1].startswith("skipped 0.png: cannot read")
    assert shown[-1] == "… 3 more notes: Preview Dataset shows them." and len(dataset.notes) == 11
    preview = nodes.PreviewDataset.execute(dataset, 4, 2).args[2]
    assert all(note in preview for note in load_folder(host.input / folder).notes)


def test_repeats_trigger_and_class_word_are_put_in(folder):
    dataset = load(folder, repeats=3, trigger="akane", class_word="1girl")
    assert captions(dataset) == ["akane, red hair, smile", "akane, 1girl"] and [s.repeats for s in dataset] == [3, 3]


def test_subfolders_are_taken_only_if_asked(folder, host):
    save_samples(host.input / "girl" / "10_more", [(pictures("green")[0], "more", {"name": "c"})])
    assert [sample.repeats for sample in load(folder)] == [10, 1, 1]
    assert len(load(folder, recursive=False)) == 2


def test_a_folder_outside_is_a_red_node_and_a_linked_one_is_not_judged_yet():
    assert "not in input/ or output/" in nodes.LoadDataset.validate_inputs("../x")
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
    seen = mark()
    small_copy = host.input / "girl" / ".small" / "a.jpg"
    small_copy.parent.mkdir()
    small_copy.write_bytes(b"a copy for thumbnails")
    assert mark() == seen
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
    assert [short_pixel_hash(sample.load()) for sample in dataset] == [
        short_pixel_hash(picture) for picture in (*pictures("red", "blue"), *pictures("green", size=(16, 64)))]


@pytest.mark.parametrize(("shape", "words"), [
    ((2, 8, 8, 2), r"the images have 2 channels \(2 x 8 x 8 x 2\); an image has 1 \(grey\), 3 .* or 4"),
    ((1, 8, 8, 5), "the images have 5 channels"), ((1, 8, 8, 0), "the images have 0 channels"),
    ((1, 4, 8, 8, 3), "the input is 1 x 4 x 8 x 8 x 3, which is not a batch of images .* of a film, link its frames"),
    ((8, 8, 3), "the input is 8 x 8 x 3, which is not a batch"), ((1, 0, 8, 3), "the images have no pixels"),
    ((0, 8, 8, 3), "there are 0 images to make a dataset of; at least 1 is needed. Link a node that gives images.")])
def test_what_is_not_a_batch_of_images_is_one_clear_line(host, shape, words):
    """https://github.com/EvilBT/ComfyUI_SLK_joy_caption_two/issues/13"""
    with pytest.raises(UserError, match=words) as caught:
        nodes.DatasetFromImages.execute([torch.zeros(shape)], ["x"], ["odd"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=words):
        nodes.CropPicture.execute(torch.zeros(shape), "1girl", 2, "booru", "odd")
    assert not (host.output / "bootstrap" / "datasets" / "odd").exists()


def test_a_crops_caption_that_was_edited_on_disk_is_not_overwritten(host):
    (file,) = {sample.path for sample in nodes.DatasetFromImages.execute([batch("red")], ["one"], ["set"])[0]}
    assert captions(nodes.DatasetFromImages.execute([batch("red")], ["two"], ["set"])[0]) == ["two"]
    file.with_suffix(".txt").write_text("mine")
    with pytest.raises(UserError, match="was edited after it was saved"):
        nodes.DatasetFromImages.execute([batch("red")], ["three"], ["set"])
    assert file.with_suffix(".txt").read_text() == "mine"
    file.with_suffix(".txt").unlink()
    nodes.DatasetFromImages.execute([batch("red")], ["three"], ["set"])
    assert file.with_suffix(".txt").read_text() == "three\n"


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
    with pytest.raises(UserError, match="there are 2 captions for 3 images"):
        nodes.captions_for(["a\nb"], 3)
    with pytest.raises(UserError, match="there are 2 captions for 3 images"):
        nodes.captions_for(["a", "b"], 3)


# -- PreviewDataset ----------------------------------------------------------------------------------------------------


def test_the_preview_shows_a_sheet_and_tells_counts_sizes_tags_and_notes(folder, host):
    dataset = load(folder)
    passed_on, sheet, report = nodes.PreviewDataset.execute(dataset, shown=32, columns=4).args
    assert passed_on is dataset and sheet.shape == (1, 196, 382, 3)
    assert report.splitlines() == ["2 images, 48 x 32 pixels", "1 without a caption", "red hair (1), smile (1)",
                                   "1 of 2 images have no caption: b.png."]
    assert host.server.texts[1:] == [(report.replace("\n", "  \n"), "7")]


def test_the_sheet_holds_at_most_so_many_pictures_in_rows(host):
    dataset = from_images([batch("red", "blue", "green", "white", "black")])
    sheet = nodes.PreviewDataset.execute(dataset, shown=4, columns=2)[1]
    assert sheet.shape == (1, 382, 382, 3)
    red = (sheet[0] * 255).round().int().tolist()[40][90]
    assert red == [255, 0, 0]


def test_an_epoch_counts_repeats_and_an_empty_dataset_is_told():
    assert nodes.dataset_report(Dataset(())) == "no images"
    made = load_folder(PICTURES_DIR, default_repeats=5)
    assert nodes.dataset_report(made).splitlines()[0] == "3 images (15 in an epoch), 512 x 512 pixels"


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

    loader = ModuleType("lora_bootstrap.host.backbone.sandbox")
    loader.load_sandbox = lambda: ("model", "clip", "vae")
    monkeypatch.setitem(sys.modules, loader.__name__, loader)
    model, clip, vae, picture, tags = LoadSandbox.execute("hinata").args
    assert (model, clip, vae) == ("model", "clip", "vae") and picture.shape == (1, 512, 512, 3)
    assert tags.startswith("1girl, blonde hair")


# -- masks -------------------------------------------------------------------------------------------------------------


def half(width=48, height=32):
    mask = torch.zeros(1, height, width)
    mask[:, :, : width // 2] = 1
    return mask


def with_masks(images, masks, texts=("",)):
    return nodes.DatasetFromImages.execute(list(images), list(texts), ["made"], list(masks))[0]


def test_pictures_masks_and_captions_are_kept_together(host):
    dataset = with_masks([batch("red", "blue")], [torch.cat([half(), 1 - half()])], ["one", "two"])
    shapes = [sample.load_mask() for sample in dataset]
    assert [(mask.getpixel((0, 0)), mask.getpixel((47, 0))) for mask in shapes] == [(255, 0), (0, 255)]
    again = load_folder(host.output / "bootstrap" / "datasets" / "made")
    assert {(s.caption, s.load_mask().tobytes()) for s in again} == {(s.caption, s.load_mask().tobytes())
                                                                   for s in dataset}


def test_one_picture_with_two_masks_is_two_files_so_that_neither_changes_the_other(host):
    first = with_masks([batch("red")], [half()])
    second = with_masks([batch("red")], [1 - half()])
    assert first.samples[0].path != second.samples[0].path
    assert first.samples[0].load_mask().getpixel((0, 0)) == 255 and second.samples[0].load_mask().getpixel((0, 0)) == 0
    assert with_masks([batch("red")], [half()]).fingerprint == first.fingerprint
    assert len(list((host.output / "bootstrap" / "datasets" / "made").glob("*.png"))) == 2


def test_a_black_mask_counts_as_none_and_a_smaller_one_of_the_same_shape_is_scaled(host):
    dataset = with_masks([batch("red", "blue")], [torch.zeros(1, 64, 64), half(24, 16)])
    assert dataset.samples[0].mask is None and dataset.samples[1].load_mask().size == (48, 32)


def test_masks_of_another_number_or_shape_are_told():
    with pytest.raises(UserError, match="there are 1 masks for 2 images"):
        with_masks([batch("red", "blue")], [half()])
    with pytest.raises(UserError, match="mask 1 is 32 x 32, but its image is 48 x 32"):
        with_masks([batch("red")], [half(32, 32)])


# -- MergeDatasets, SplitDataset ---------------------------------------------------------------------------------------


def merged(*datasets, once=True):
    return nodes.MergeDatasets.execute(*datasets[:2], once, *datasets[2:])[0]


def test_datasets_are_merged_in_order_and_what_is_in_several_is_taken_once(host):
    first, second = from_images([batch("red", "blue")], ["a"]), from_images([batch("blue", "green")], ["b"], "other")
    whole = merged(first, second)
    assert captions(whole) == ["a", "a", "b"] and whole.samples[:2] == first.samples
    assert whole.notes == ("Images in more than one of the merged datasets, used only once: 1.",)
    assert host.server.texts[-1] == ("2 + 2 images make 3", "7")
    assert len(merged(first, second, once=False)) == 4
    third = from_images([batch("white")], ["c"], "third")
    assert captions(merged(first, second, third)) == ["a", "a", "b", "c"]


def test_a_picture_that_a_dataset_holds_twice_by_itself_stays_twice(host):
    assert len(merged(from_images([batch("red", "red")]), from_images([batch("blue")]))) == 3


def test_some_pictures_are_held_back_the_same_for_the_same_seed(host):
    dataset = from_images([batch("red", "blue", "green", "white", "black")])
    training, validation = nodes.SplitDataset.execute(dataset, 0.2, 3).args
    assert (len(training), len(validation)) == (4, 1)
    assert {s.path for s in training} | {s.path for s in validation} == {s.path for s in dataset}
    assert nodes.SplitDataset.execute(dataset, 0.2, 3)[1] == validation
    assert host.server.texts[-1][0] == "4 to train on, 1 held back"


def test_crops_of_one_picture_stay_together_and_if_nothing_can_be_held_back_that_is_said(host):
    dataset = crop(to_batch(open_image(PICTURES_DIR / "akane.png")))[0]
    training, validation = nodes.SplitDataset.execute(dataset, 0.5, 0).args
    assert (len(training), len(validation)) == (4, 0) and "no validation" in host.server.texts[-1][0]


# -- control images ----------------------------------------------------------------------------------------------------


def paired(images, controls, texts=("turn it blue",), name="pairs"):
    return nodes.DatasetFromImages.execute(list(images), list(texts), [name], controls=list(controls))[0]


def colours(dataset):
    return [[control.getpixel((0, 0)) for control in sample.load_controls()] for sample in dataset]


RED, LIME = (255, 0, 0), (0, 255, 0)


def test_images_and_their_control_images_are_saved_as_pairs_that_load_again(host):
    dataset = paired([batch("blue", "black")], [batch("red"), batch("lime", size=(20, 90))])
    assert colours(dataset) == [[RED], [LIME]]
    again = load("output/bootstrap/datasets/pairs")
    assert {s.path: s.controls for s in again} == {s.path: s.controls for s in dataset}
    assert "2 of 2 images have a control image" in nodes.PreviewDataset.execute(again, 4, 2).args[2]
    with pytest.raises(UserError, match="1 control images for 2 images"):
        paired([batch("blue", "black")], [batch("red")])


def test_one_image_with_two_control_images_is_two_pairs_in_a_merge_too(host):
    first, second = paired([batch("blue")], [batch("red")]), paired([batch("blue")], [batch("lime")])
    assert colours(merged(first, second)) == [[RED], [LIME]] and colours(first) == [[RED]]
    assert len(merged(first, paired([batch("blue")], [batch("red")], name="copy"))) == 1


def test_a_folder_of_control_images_is_given_by_name_and_watched(folder, host):
    save_samples(host.input / "before", [(picture, "", {"name": name}) for picture, name in zip(
        pictures("red", "lime"), "ab", strict=True)])
    assert colours(load(folder, controls="before")) == [[RED], [LIME]]
    assert nodes.LoadDataset.validate_inputs(folder, controls="before") is True
    assert "not in input/ or output/" in nodes.LoadDataset.validate_inputs(folder, controls="../before")
    assert nodes.LoadDataset.validate_inputs(folder, controls=None) is True
    seen = nodes.LoadDataset.fingerprint_inputs(folder, True, controls="before")
    pictures("pink")[0].save(host.input / "before" / "a.png")
    assert nodes.LoadDataset.fingerprint_inputs(folder, True, controls="before") != seen


@pytest.mark.parametrize("beside", ["masks", "controls"])
def test_a_new_mask_or_control_image_is_noticed_without_subfolders_too(folder, host, beside):
    seen = nodes.LoadDataset.fingerprint_inputs(folder, False)
    (host.input / "girl" / "other").mkdir()
    pictures("red")[0].save(host.input / "girl" / "other" / "a.png")
    assert nodes.LoadDataset.fingerprint_inputs(folder, False) == seen
    (host.input / "girl" / beside).mkdir()
    pictures("red")[0].save(host.input / "girl" / beside / "a.png")
    assert nodes.LoadDataset.fingerprint_inputs(folder, False) != seen
