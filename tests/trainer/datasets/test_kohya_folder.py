"""Saving a dataset as a kohya folder, again and again."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from lora_bootstrap.trainer.common import locks
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress, Warned
from lora_bootstrap.trainer.datasets.dataset import Dataset, load_folder, save_samples
from lora_bootstrap.trainer.datasets.kohya_folder import save_dataset

COLOURS = ("red", "green", "blue")


@pytest.fixture
def dataset(tmp_path):
    mask = Image.new("L", (16, 12))
    mask.paste(255, (0, 0, 8, 12))
    save_samples(tmp_path / "in" / "10_girl", [
        (Image.new("RGB", (16, 12), colour), f"{colour} hair", {"name": colour, "parent": "p"}) for colour in COLOURS],
        [mask, None, None])
    return load_folder(tmp_path / "in")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def save(dataset, out, concept="girl"):
    *_, last = save_dataset(dataset, out, concept)
    return last


def facts(dataset):
    return sorted((s.load().tobytes(), s.caption, s.repeats, s.parent, s.mask and s.load_mask().tobytes())
                  for s in dataset)


def test_what_is_saved_is_loaded_as_it_was(dataset, out):
    done = save(dataset, out)
    assert facts(load_folder(out)) == facts(done.dataset) == facts(dataset)
    assert (done.written, done.removed) == (3, 0)
    assert (out / "10_girl" / "masks").is_dir() and (out / "10_girl" / "red.txt").read_text() == "red hair\n"


def test_saving_again_writes_only_what_has_changed(dataset, out):
    save(dataset, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    changed = Dataset(tuple(replace(s, caption="long hair") if s.path.stem == "red" else s for s in dataset))
    done = save(changed, out)
    assert done.written == 1
    assert [path.name for path in times if path.stat().st_mtime_ns != times[path] and "masks" not in path.parts] == [
        "red.png"]
    assert save(changed, out).written == 0


def test_a_file_that_somebody_deleted_is_written_again(dataset, out):
    save(dataset, out)
    (out / "10_girl" / "green.png").unlink()
    assert save(dataset, out).written == 1 and len(load_folder(out)) == 3


def test_what_is_no_longer_in_the_dataset_is_removed_with_its_caption_and_mask(dataset, out):
    save(dataset, out)
    rest = Dataset(tuple(s for s in dataset if s.path.stem != "red"))
    done = save(rest, out)
    assert done.removed == 1 and facts(load_folder(out)) == facts(rest)
    assert not list(out.rglob("red.*"))


def test_another_concept_leaves_no_second_folder(dataset, out):
    save(dataset, out)
    save(dataset, out, "woman")
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["10_woman"]


def test_pictures_from_elsewhere_are_refused_and_stay(dataset, out):
    (out / "10_girl").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(out / "10_girl" / "red.png")
    before = (out / "10_girl" / "red.png").read_bytes()
    with pytest.raises(UserError, match=r"has images that were not saved there from a dataset \(red.png\)"):
        save(dataset, out)
    assert (out / "10_girl" / "red.png").read_bytes() == before and len(list(out.rglob("*"))) == 2


def test_nobody_saves_into_a_folder_while_somebody_else_does(dataset, out, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    save_samples(tmp_path / "other", [(Image.new("RGB", (16, 12), "white"), "white hair", {"name": COLOURS[0]})])
    other = load_folder(tmp_path / "other")
    events = save_dataset(dataset, out, "girl")
    next(events)
    with pytest.raises(UserError, match="is being changed by another program"):
        save(other, out)
    *_, done = events
    assert facts(load_folder(out)) == facts(done.dataset) == facts(dataset)
    with pytest.raises(UserError, match="Choose another name"):
        save(other, out)


def test_a_dataset_is_not_saved_into_itself(dataset, tmp_path):
    with pytest.raises(UserError, match="is in .* itself"):
        save(dataset, tmp_path / "in")


def test_a_save_that_was_stopped_is_gone_on_with(dataset, out):
    events = save_dataset(dataset, out, "girl")
    assert next(events) == Progress("saving", 1, 3)
    events.close()
    assert save(dataset, out).dataset.fingerprint == load_folder(out).fingerprint


def test_two_pictures_of_one_name_and_a_crop_get_files_of_their_own(dataset, out):
    whole = dataset.samples[0]
    part = replace(whole, crop=(0, 0, 4, 4), size=(4, 4), mask=None)
    done = save(Dataset((whole, part)), out)
    assert [s.path.name for s in done.dataset] == ["blue.png", "blue_2.png"]
    assert [s.load().size for s in load_folder(out)] == [(16, 12), (4, 4)]


def test_a_picture_that_cannot_be_read_is_left_out_and_named(dataset, out):
    dataset.samples[1].path.write_bytes(b"no picture")
    events = list(save_dataset(dataset, out, "girl"))
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert "green.png" in warned.message and len(events[-1].dataset) == 2


@pytest.mark.parametrize("concept", ["", "a/b", ".."])
def test_a_concept_that_leads_elsewhere_is_refused(dataset, out, concept):
    with pytest.raises(UserError, match="concept .* cannot be a folder's"):
        save(dataset, out, concept)


def test_an_empty_dataset_is_refused(out):
    with pytest.raises(UserError, match="no images to save"):
        save(Dataset(()), out)


# -- what other sources saved, and what people edited ------------------------------------------------------------------


def other_dataset(tmp_path, name="photos", colours=("gold", "navy")):
    save_samples(tmp_path / name, [(Image.effect_noise((16, 12), 60).convert("RGB"), f"{colour} sky", {"name": colour})
                                   for colour in colours])
    return load_folder(tmp_path / name)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_another_source_saved_under_a_name_is_refused_with_the_remedy_and_stays(dataset, out, tmp_path):
    save(dataset, out)
    before = contents(out)
    with pytest.raises(UserError, match=r"out has 3 images that were saved there from .*in.10_girl \(blue.png\), and "
                       "this save would replace them by 2 images from .*photos. Choose another name, or delete"):
        save(other_dataset(tmp_path), out)
    assert contents(out) == before


def test_images_of_the_same_names_from_another_source_are_not_overwritten(dataset, out, tmp_path):
    save(dataset.with_repeats(1), out)
    before = contents(out)
    with pytest.raises(UserError, match="has 3 images that were saved there from"):
        save(other_dataset(tmp_path, colours=COLOURS), out)
    assert contents(out) == before


def test_a_folder_whose_images_were_all_replaced_is_another_source(dataset, out, tmp_path):
    save(dataset, out)
    for path in (tmp_path / "in" / "10_girl").glob("*.*"):
        path.unlink()
    with pytest.raises(UserError, match="Choose another name"):
        save(other_dataset(tmp_path, "in/10_girl", COLOURS), out)


def test_a_source_that_only_grew_shrank_moved_or_was_retouched_is_the_same_source(dataset, out, tmp_path):
    save(dataset, out)
    other_dataset(tmp_path, "in/10_girl")
    assert save(load_folder(tmp_path / "in"), out).written == 2
    assert save(Dataset(dataset.samples[:1]), out).removed == 4
    (tmp_path / "in").rename(tmp_path / "moved")
    assert save(load_folder(tmp_path / "moved"), out).removed == 0
    for sample in load_folder(tmp_path / "moved"):
        sample.load().resize((32, 24)).save(sample.path)
    assert save(load_folder(tmp_path / "moved"), out).written == 5


@pytest.mark.parametrize("name", ["red.txt", "red.png"])
def test_a_file_that_was_edited_after_the_save_is_neither_overwritten_nor_deleted(dataset, out, name):
    save(dataset, out)
    edited = out / "10_girl" / name
    if name == "red.txt":
        edited.write_text("a caption of my own")
    else:
        Image.new("RGB", (16, 12), "pink").save(edited)
    before = contents(out)
    for changed in (dataset.with_captions(lambda caption: f"zqx, {caption}"), Dataset(dataset.samples[:1])):
        with pytest.raises(UserError, match=rf"{name} was edited after it was saved, .* Choose another name, or move"):
            save(changed, out)
        assert contents(out) == before
    assert save(dataset, out).written == 0 and contents(out) == before


def test_a_save_of_an_earlier_version_is_gone_on_with_by_its_own_source_only(dataset, out, tmp_path):
    save(dataset, out)
    record = json.loads((out / "saved.json").read_text())
    (out / "saved.json").write_text(json.dumps({name: entry["key"] for name, entry in record.items()}))
    with pytest.raises(UserError, match="has 3 images that were saved there "):
        save(other_dataset(tmp_path), out)
    assert save(dataset.with_captions(str.upper), out).written == 3
    assert save(dataset.with_captions(str.upper), out).written == 0


def test_a_save_that_was_stopped_does_not_take_its_own_files_for_edited_ones(dataset, out):
    save(dataset, out)
    changed = dataset.with_captions(lambda caption: f"zqx, {caption}")
    events = save_dataset(changed, out, "girl")
    next(events)
    events.close()
    assert save(dataset, out).written == 3


def test_a_mask_that_was_painted_or_changed_by_hand_is_neither_overwritten_nor_deleted(dataset, out):
    save(dataset, out)
    for name in ("red", "blue"):  # one that was saved, and one where none was
        Image.new("L", (16, 12), 200).save(out / "10_girl" / "masks" / f"{name}.png")
        changed = Dataset(tuple(replace(s, caption="new") if s.path.stem == name else s for s in dataset))
        with pytest.raises(UserError, match=rf"masks/{name}\.png was edited"):
            save(changed, out)
        (out / "10_girl" / "masks" / f"{name}.png").unlink()


def test_leaving_out_all_images_of_a_subfolder_is_no_other_source(tmp_path, out):
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        save_samples(tmp_path / "nest" / name, [(Image.new("RGB", (16, 12), colour), colour, {"name": f"{name}1"})])
    whole = load_folder(tmp_path / "nest")
    save(whole, out)
    done = save(Dataset(tuple(s for s in whole if s.path.stem != "c1")), out)
    assert done.removed == 1 and len(load_folder(out)) == 2
