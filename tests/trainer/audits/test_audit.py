"""An audit as a whole: findings in order, duplicates, coverage, the cache, cancelling, and its report."""

import json
import tracemalloc

import pytest
from PIL import Image

from lora_bootstrap.sandbox import world
from lora_bootstrap.sandbox.drawing import draw
from lora_bootstrap.trainer.audits import audit as audit_module
from lora_bootstrap.trainer.audits.audit import AuditConfig, AuditFinished, audit
from lora_bootstrap.trainer.audits.report import (
    COLOURS,
    SHEET_PICTURES,
    as_json,
    draw_audit_sheet,
    table,
    text_bar,
    write_audit,
)
from lora_bootstrap.trainer.captions.coverage import Bar
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Interrupted, Progress
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample, load_folder

from ...helpers.audits import draw_faulty_folder, run_audit

SMALL = AuditConfig(family="sandbox", resolution=128, workers=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return draw_faulty_folder(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def found(home):
    return run_audit(load_folder(home), AuditConfig(family="sandbox", resolution=128, trigger="zqx", workers=1))


def codes(found):
    return {p.name: [finding.code for finding in p.findings] for p in found.pictures if p.findings}


def test_each_picture_has_its_findings_the_worst_first(found):
    assert codes(found) == {"soft.png": ["blur", "several people"], "twin.png": ["duplicate"],
                            "untold.png": ["no caption"]}
    assert [p.severity for p in found.pictures] == [""] * 6 + ["fault", "fault", "warning"]
    assert found.counts == {"blur": 1, "duplicate": 1, "no caption": 1, "several people": 1}
    blur = found.pictures[6].findings[0]
    assert blur.value >= blur.threshold > 0 and "blurred: edges are" in blur.text


def test_the_larger_of_two_copies_is_kept(found):
    assert found.duplicates == ((0, 7),)
    assert found.pictures[7].findings[0].text.startswith("a copy of d0.png")


def test_files_and_copies_of_the_very_same_content_are_named_as_such(tmp_path):
    image = draw(world.Scene(world.HELD_OUT["momo"]), 128)
    for name in ("a", "b", "c"):
        image.save(tmp_path / f"{name}.png")
    (tmp_path / "b.txt").write_text("1girl")
    found = run_audit(load_folder(tmp_path), SMALL)
    assert found.duplicates == ((1, 0, 2),)
    assert found.pictures[0].findings[0].text == "the same file as b.png; leave one out."


def test_what_was_not_read_is_listed(found):
    assert len(found.left_out) == 1 and found.left_out[0].startswith("skipped broken.png: cannot read")
    assert any("have no caption" in note for note in found.notes)


def test_what_is_left_out_is_left_out_with_its_reason(found):
    kept, reasons = found.without("fault")
    assert [s.path.stem for s in kept] == ["d0", "d1", "d2", "d3", "d4", "d5", "untold"]
    assert [reason.split(":")[0] for reason in reasons] == ["left out soft.png", "left out twin.png"]
    assert set(reasons) | set(found.left_out) <= set(kept.notes)
    assert len(found.without("warning")[0]) == 6
    only_copies, reasons = found.without("", ("duplicate",))
    assert len(only_copies) == 8 and len(reasons) == 1
    with pytest.raises(UserError, match="Did you mean 'fault'"):
        found.without("faults")


def test_the_set_is_held_against_the_guides(found):
    assert found.coverage.pictures == 9
    assert "no view from behind: add 1." in found.advice
    assert "9 images, but a character LoRA needs 15 to 25: add 6." in found.advice
    # The sandbox has no word for it.
    assert not any("three-quarter" in line for line in found.advice)


def test_a_missing_trigger_is_noted(home):
    found = run_audit(load_folder(home), AuditConfig(family="sandbox", resolution=128, trigger="qqq", workers=1))
    assert found.counts["no trigger"] == 8
    assert found.with_severity("note")[0].findings[0].code == "no trigger"
    assert "8 images" not in table(found) and "'qqq'" in table(found)


def test_progress_comes_picture_by_picture_and_stopping_ends_it(home):
    dataset = load_folder(home)
    events = list(audit(dataset, SMALL))
    assert events[:-1] == [Progress("audit", done, 9) for done in range(1, 10)]
    assert isinstance(events[-1], AuditFinished)
    seen = []
    stopped = list(audit(dataset, SMALL, should_stop=lambda: bool(seen.append(0)) or len(seen) == 2))
    assert stopped == [Progress("audit", 1, 9), Progress("audit", 2, 9), Interrupted("audit")]


def test_closing_an_audit_opens_no_more_pictures(home, monkeypatch):
    opened = []
    load = Sample.load
    monkeypatch.setattr(Sample, "load", lambda self, *args: opened.append(self) or load(self, *args))
    many = Dataset(load_folder(home).samples * 20)
    events = audit(many, AuditConfig(family="sandbox", workers=2))
    next(events)
    events.close()
    assert len(opened) <= 2 * 4 + 2


def test_several_workers_say_the_same_in_the_same_order(home, found):
    again = run_audit(load_folder(home), AuditConfig(family="sandbox", resolution=128, trigger="zqx", workers=3))
    assert [(p.name, p.figures, p.findings) for p in again.pictures] == [
        (p.name, p.figures, p.findings) for p in found.pictures]
    assert again.duplicates == found.duplicates


def test_what_was_measured_is_kept_by_content(home, tmp_path, monkeypatch):
    first = run_audit(load_folder(home), SMALL, tmp_path)
    monkeypatch.setattr(audit_module, "measure", lambda *args: pytest.fail("measured again"))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in home.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    again = run_audit(load_folder(moved), SMALL, tmp_path)
    assert [p.findings for p in again.pictures] == [p.findings for p in first.pictures]
    monkeypatch.undo()
    other = run_audit(load_folder(home), AuditConfig(family="sandbox", workers=1), tmp_path)
    assert other.pictures[6].figures != first.pictures[6].figures


def test_copies_alone_are_found_without_measuring_anything_else(home, found, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_module, "measure", lambda *args: pytest.fail("measured"))
    only = AuditConfig(family="sandbox", resolution=128, workers=1, copies_only=True)
    for _ in range(2):  # measured, and from the cache
        copies = run_audit(load_folder(home), only, tmp_path)
        assert codes(copies) == {"twin.png": ["duplicate"]} and copies.duplicates == found.duplicates
        assert (copies.advice, copies.left_out) == ((), found.left_out)
        assert table(copies).startswith("9 images, searched for copies only; 8 without a finding.\n1 copy of another")
        assert "wanted" not in table(copies) and json.dumps(as_json(copies))
    assert len(copies.without("", ("duplicate",))[0]) == 8


def test_of_two_copies_of_one_size_the_less_compressed_is_kept_also_without_figures(tmp_path):
    image = draw(world.Scene(world.HELD_OUT["momo"]), 256)
    image.save(tmp_path / "a.jpg", quality=10)
    image.save(tmp_path / "b.png")
    for copies_only in (False, True):
        config = AuditConfig(family="sandbox", resolution=256, workers=1, copies_only=copies_only)
        assert run_audit(load_folder(tmp_path), config).duplicates == ((1, 0),)


def copies_of_one_image(folder, *sides):
    """JPEGs of one drawing at those sides, the first of them the most compressed."""
    image = draw(world.Scene(world.HELD_OUT["momo"]), 256)
    for number, side in enumerate(sides):
        image.resize((side, side)).save(folder / f"{number}.jpg", quality=10 + 40 * number)
    return load_folder(folder)


COPIES_ONLY = AuditConfig(family="sandbox", resolution=256, workers=1, copies_only=True)


def test_copies_are_told_apart_with_progress_once_and_can_be_stopped(tmp_path, monkeypatch):
    cache, folder = tmp_path / "cache", tmp_path / "set"
    folder.mkdir()
    dataset = copies_of_one_image(folder, 256, 256, 240)
    *events, last = audit(dataset, COPIES_ONLY, cache)
    assert events[3:] == [Progress("copies", done, 3) for done in (1, 2, 3)] and last.audit.duplicates == ((2, 0, 1),)
    monkeypatch.setattr(audit_module, "trained_blocking", lambda *args: pytest.fail("measured again"))
    assert run_audit(dataset, COPIES_ONLY, cache).duplicates == ((2, 0, 1),)
    monkeypatch.undo()
    asked = iter([False, False, False, True])
    stopped = list(audit(dataset, COPIES_ONLY, should_stop=lambda: next(asked)))
    assert stopped[3:] == [Progress("copies", 1, 3), Interrupted("audit")]


def test_of_copies_of_which_one_is_far_larger_nothing_else_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_module, "trained_blocking", lambda *args: pytest.fail("measured"))
    assert run_audit(copies_of_one_image(tmp_path, 160, 256), COPIES_ONLY).duplicates == ((1, 0),)


@pytest.mark.parametrize("cached", [True, False])
def test_a_copy_that_vanishes_during_an_audit_does_not_end_it(tmp_path, cached):
    folder = tmp_path / "set"
    folder.mkdir()
    dataset = copies_of_one_image(folder, 256, 256, 256)
    for event in (events := audit(dataset, COPIES_ONLY, tmp_path / "cache" if cached else None)):
        if event == Progress("audit", 3, 3):
            (folder / "2.jpg").unlink()
        last = event
    assert last.audit.duplicates == (((1, 0, 2),) if cached else ((1, 0),)) and not list(events)


def test_an_empty_set_is_audited_too():
    found = run_audit(Dataset(()), SMALL)
    assert (found.pictures, found.duplicates, found.counts) == ((), (), {})
    assert "0 images" in table(found) and draw_audit_sheet(found).size[0] > 0


def test_memory_does_not_grow_with_the_pictures_sides(tmp_path):
    """Pictures are not held: ten of a thousand pixels need little more than one."""
    image = Image.effect_noise((1000, 1000), 60).convert("RGB")
    for number in range(10):
        image.rotate(number).save(tmp_path / f"{number}.png", compress_level=0)
    dataset = load_folder(tmp_path)
    peaks = []
    for samples in (dataset.samples[:1], dataset.samples):
        run_audit(Dataset(samples[:1]), SMALL)
        tracemalloc.start()
        run_audit(Dataset(samples), SMALL)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4_000_000


def test_the_table_says_everything_in_lines(found):
    text = table(found)
    assert text.startswith("9 images for a character LoRA on sandbox at 128 pixels; 6 without a finding.")
    for words in ("Faults (2)", "soft.png", "Warnings (2)", "Left out when the folder was read (1)", "Framing",
                  "Advice", "wanted 20% to 30%"):
        assert words in text
    assert max(map(len, text.splitlines())) < 300


def test_bars_show_the_share_and_the_wanted_range():
    assert text_bar(Bar("x", 5, 10, 0.2, 0.8)) == "██████████······|···"
    assert text_bar(Bar("x", 0, 10, 0.2, 0.3)) == "····|·|·············"
    assert text_bar(Bar("x", 0, 0, 0.0, 1.0)) == "·" * 20


def test_the_json_holds_what_the_table_does_and_is_plain(found):
    value = json.loads(json.dumps(as_json(found)))
    assert value["counts"] == found.counts and value["duplicates"] == [["d0.png", "twin.png"]]
    assert value["pictures"][6]["findings"][0]["code"] == "blur" and value["pictures"][6]["figures"]["edge_width"] > 0.9
    assert value["coverage"]["framing"]["bars"][0] == {
        "name": "close-up", "pictures": 2, "of": 6, "least": 0.2, "most": 0.3, "share": 0.3333, "fits": True}


def test_the_contact_sheet_frames_each_picture_by_its_worst_finding(found):
    sheet = draw_audit_sheet(found, columns=9, cell=64)
    frames = [sheet.getpixel((8 + number * 72 + 1, 8 + 30)) for number in range(9)]
    assert frames == [COLOURS[picture.severity] for picture in found.pictures]
    assert sheet.size == (8 + 9 * 72, 8 + 64 + 30 + 8)


def test_a_long_sheet_shows_the_worst_first(found):
    many = audit_module.dataclasses.replace(found, pictures=found.pictures * 60)
    sheet = draw_audit_sheet(many, columns=40, cell=16)
    assert SHEET_PICTURES == 400 and sheet.size == (8 + 40 * 24, 28 + 10 * (16 + 30 + 8))
    assert sheet.getpixel((8 + 1, 28 + 8)) == COLOURS["fault"]


def test_an_audit_is_written_to_three_files(found, tmp_path):
    paths = write_audit(found, tmp_path / "audit")
    assert {path.name for path in paths.values()} == {"audit.txt", "audit.json", "contact_sheet.png"}
    assert paths["table"].read_text("utf-8") == table(found)
    with Image.open(paths["sheet"]) as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize(("settings", "words"), [
    ({"family": "sdx"}, "Did you mean 'sdxl'"), ({"purpose": "caracter"}, "Did you mean 'character'"),
    ({"resolution": 4, "family": "sandbox"}, "at least 16"), ({"workers": -1}, "from 0 .* to 64")])
def test_wrong_settings_are_one_clear_line(settings, words):
    with pytest.raises(UserError, match=words):
        AuditConfig(**settings)
