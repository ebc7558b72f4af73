"""Auditing, preparing and saving datasets."""

from pathlib import Path

import comfy.model_management
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from lora_bootstrap.host.drawing.pictures import to_batch, to_pictures
from lora_bootstrap.host.working import COLUMN, show_report
from lora_bootstrap.nodes import audit as audits
from lora_bootstrap.nodes.audit import AuditDataset
from lora_bootstrap.nodes.prepare import PrepareDataset, SaveDataset, colour
from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.pictures.images import open_image

AUDIT = {"family": "sandbox", "resolution": 0, "purpose": "character", "trigger": "", "leave_out": "nothing",
         "columns": 6}
PREPARE = {"name": "ready", "family": "sandbox", "resolution": 0, "crop": "none", "subject_least": 0.4,
           "subject_most": 0.6, "shape": "square", "upscale": False, "strength": 1.0, "background": "",
           "background_tag": "simple background", "flip": "never", "alpha_masks": True}


def drawn(name):
    return open_image(PICTURES_DIR / f"{name}.png").resize((128, 128))


@pytest.fixture
def dataset(host):
    """Two sound pictures, one of them with a mask, a copy of the first, and a blurred one."""
    mask = Image.new("L", (128, 128))
    ImageDraw.Draw(mask).rectangle((32, 16, 95, 111), fill=255)
    akane, hinata = drawn("akane"), drawn("hinata")
    blurred = drawn("mizuki").filter(ImageFilter.GaussianBlur(9))
    pictures = (("a", akane, mask), ("b", hinata, None), ("c", akane.resize((160, 160)), None), ("d", blurred, None))
    save_samples(host.input / "girls", [(picture, f"1girl, {name} hair, grass", {"name": name})
                                        for name, picture, _ in pictures], [mask for *_, mask in pictures])
    return load_folder(host.input / "girls")


def names(dataset):
    return [sample.path.stem for sample in dataset]


# -- AuditDataset ------------------------------------------------------------------------------------------------------


def look(dataset, **widgets):
    return AuditDataset.execute(dataset, **{**AUDIT, **widgets})


def test_an_audit_reports_shows_and_hands_the_dataset_on_as_it_is(dataset, host):
    passed_on, sheet, report = look(dataset).args
    assert passed_on is dataset and sheet.shape[0] == 1 and sheet.shape[-1] == 3
    assert "a copy of" in report and "blur" in report and "Advice" in report
    shown = host.server.texts[-1][0].split("  \n")
    assert shown[0] == report.splitlines()[0] and shown[3] == "Advice" and shown[4].strip() in report
    assert host.bars[-1].updates[-1][:2] == (4, 4)
    assert list((host.output / "audits" / "measured").rglob("*.safetensors"))


def test_what_is_left_out_is_named_with_its_reason(dataset):
    kept, _, report = look(dataset, leave_out="copies").args
    assert len(kept) == 3 and len({"a", "c"} & set(names(kept))) == 1
    assert "left out" in report and "a copy of" in report.splitlines()[-1]
    assert "d" not in names(look(dataset, leave_out="faults")[0])


def test_copies_can_be_searched_for_alone(dataset):
    kept, _, report = look(dataset, leave_out="copies", copies_only=True).args
    assert len(kept) == 3 and "searched for copies only" in report and "blur" not in report


def test_if_nothing_would_be_left_that_is_said(dataset, monkeypatch):
    monkeypatch.setitem(audits.LEAVE_OUT, "copies", ("note", ()))
    with pytest.raises(UserError, match="all 4 images would be left out"):
        look(dataset, leave_out="copies", trigger="nobody")


def test_cancel_ends_an_audit(dataset, host):
    host.management.interrupted = True
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        look(dataset)


@pytest.mark.parametrize(("widgets", "asked"), [({"purpose": "style"}, 0), ({"copies_only": True}, 0), ({}, 1)])
def test_a_model_that_measures_likeness_is_loaded_only_where_looks_are_compared(host, dataset, monkeypatch, widgets,
                                                                                asked):
    loaded = []
    monkeypatch.setattr(audits, "choose_eye", lambda *args: loaded.append(args))
    look(dataset, **widgets)
    assert len(loaded) == asked, "it may be one that cannot be loaded"


def test_a_resolution_that_is_none_is_a_red_node():
    assert "it must be at least" in AuditDataset.validate_inputs(8)
    assert AuditDataset.validate_inputs(0) is AuditDataset.validate_inputs(None) is True


def test_a_long_report_is_cut_in_the_node_only(host):
    show_report("\n".join(f"line {number}" for number in range(100)), "7")
    lines = host.server.texts[-1][0].split("  \n")
    assert len(lines) == 24 and lines[-1] == "… 77 more lines are in the report output"


def test_a_report_is_no_heading_and_no_list_where_the_host_reads_markdown(host):
    show_report("# keep\n- a\n  + b\n-1 c\n\nd", "7")
    assert host.server.texts[-1][0] == "  \n".join((
        "\u200b# keep", "\u200b- a", "\u200b  + b", "\u200b-1 c", "\u200b", "d"))


def test_columns_of_a_report_do_not_run_together_where_blanks_do(host):
    show_report(f"    5 100%{COLUMN}akane     {COLUMN}other", "7")
    assert host.server.texts[-1][0] == "\u200b    5 100% · akane · other"


def test_blanks_in_a_name_or_a_caption_are_shown_as_they_are(host):
    show_report("my  lora: 1girl,   solo", "7")
    assert host.server.texts[-1][0] == "my  lora: 1girl,   solo"


# -- PrepareDataset ----------------------------------------------------------------------------------------------------


def prepare(dataset, **inputs):
    return PrepareDataset.execute(dataset, **{**PREPARE, **inputs})


def test_pictures_are_prepared_into_a_folder_of_their_own_with_a_sheet_and_a_line_each(dataset, host):
    after, sheet, report = prepare(dataset).args
    assert [sample.size for sample in after] == [(64, 64)] * 4 and after.samples[0].load_mask().size == (64, 64)
    assert all(host.output / "bootstrap" / "datasets" / "ready" in sample.path.parents for sample in after)
    assert report.splitlines()[0] == "4 images" and "a.png: shrunk to 64 x 64." in report
    assert host.server.texts[-1][0] == "4 images  \n1 of 4 images have a mask: a.png.  \n4 x shrunk to 64 x 64"
    assert sheet.shape[0] == 1 and names(dataset) == ["a", "b", "c", "d"]


def test_the_same_again_is_not_prepared_again(dataset):
    first = prepare(dataset)[0]
    times = {sample.path: sample.path.stat().st_mtime_ns for sample in first}
    again, _, report = prepare(dataset).args
    assert again.fingerprint == first.fingerprint and report.startswith("4 images, already prepared")
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_reference_moves_the_colours_and_stays_known_by_its_pixels(dataset):
    plain = prepare(dataset)[0].samples[1].load()
    blue = to_batch(Image.new("RGB", (8, 8), (20, 30, 200)))
    matched, _, report = prepare(dataset, reference=blue, name="blue").args
    means = [torch.tensor(list(picture.getdata()), dtype=torch.float).mean(0) for picture in (
        plain, matched.samples[1].load())]
    assert means[1][2] - means[1][0] > means[0][2] - means[0][0] + 40 and "colours matched" in report
    assert prepare(dataset, reference=blue.clone(), name="blue")[2].startswith("4 images, already prepared")
    told = prepare(dataset, reference=blue.repeat(2, 1, 1, 1), name="blue")[2]
    assert told.endswith("reference is a batch of 2 images; only the first is used.") and "batch" not in report


def test_masked_subjects_get_another_background_by_colour_or_picture(dataset):
    first = prepare(dataset, background="#00ff00").args[0].samples[0]
    assert first.load().getpixel((2, 2)) == (0, 255, 0) and "simple background" in first.caption
    assert "grass" not in first.caption
    picture = to_batch(Image.new("RGB", (64, 64), "red"))
    behind = prepare(dataset, background="#00ff00", background_image=picture, name="red")[0].samples[0]
    assert behind.load().getpixel((2, 2)) == (255, 0, 0)


def test_a_background_is_a_colour_never_a_path(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(UserError, match="is not a colour"):
        colour(str(path))
    assert colour(" white ") == "white" and colour("") == ""


def test_a_widget_that_cannot_be_is_a_red_node():
    def told(name="x", resolution=0, subject_least=0.4, subject_most=0.6, background=""):
        return PrepareDataset.validate_inputs(name, resolution, subject_least, subject_most, background)

    assert told() is told(name=None, background=None) is True
    assert "cannot be a folder's" in told(name="../x") and "is not a colour" in told(background="nocolour")
    assert "the smaller first" in told(subject_least=0.7) and "it must be at least" in told(resolution=8)


def test_cancel_ends_a_preparation_that_the_next_run_finishes(dataset, host):
    host.management.interrupted = True
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        prepare(dataset)
    assert len(prepare(dataset)[0]) == 4


# -- SaveDataset -------------------------------------------------------------------------------------------------------


def test_a_dataset_is_saved_as_a_kohya_folder_below_output(dataset, host):
    after, path = SaveDataset.execute(dataset.with_repeats(10), "girls", "1girl").args
    home = host.output / "datasets" / "girls"
    assert path == str(home) and sorted(home.rglob("*.png")) == sorted(
        [home / "10_1girl" / f"{name}.png" for name in "abcd"] + [home / "10_1girl" / "masks" / "a.png"])
    assert load_folder(home).fingerprint == after.fingerprint
    assert host.server.texts[-1][0] == "4 images in output/datasets/girls: 4 written"
    assert to_pictures(to_batch(after.samples[1].load()))[0].tobytes() == dataset.samples[1].load().tobytes()


def test_names_that_lead_elsewhere_are_red_nodes():
    assert SaveDataset.validate_inputs("x", "1girl") is SaveDataset.validate_inputs(None, None) is True
    assert "cannot be a folder's" in SaveDataset.validate_inputs("../x", "1girl")
    assert "cannot be a folder's" in SaveDataset.validate_inputs("x", "a/b")


@pytest.mark.parametrize("folder", ["photos", "photos/10_girl"])
def test_without_a_name_datasets_of_two_folders_are_named_after_them_and_both_stay(host, folder):
    """As when the folder in the template is changed, and nothing else."""
    saved = {}
    for home, name in ((folder, "akane"), (folder.replace("photos", "drawings"), "hinata")):
        save_samples(host.input / home, [(drawn(name), "1girl", {"name": name})])
        ready = prepare(load_folder(host.input / home.partition("/")[0]), name="")[0]
        saved[home.partition("/")[0]] = SaveDataset.execute(ready, "", "1girl").args[1]
    assert saved == {name: str(host.output / "datasets" / name) for name in ("photos", "drawings")}
    assert sorted(path.name for path in (host.output / "bootstrap" / "datasets").iterdir()) == sorted(saved)
    assert [names(load_folder(Path(home))) for home in saved.values()] == [["akane"], ["hinata"]]


def test_an_empty_name_is_accepted_before_the_images_are_known():
    assert SaveDataset.validate_inputs(" ", "1girl") is PrepareDataset.validate_inputs("", 0, 0.4, 0.6, "") is True
