"""The routes of the viewer of sweeps: what they tell, marks of two writers, using a LoRA, and all that is refused."""

import io
import json
import threading
import time
from pathlib import Path

import folder_paths
import pytest
from PIL import Image

from lora_bootstrap.host import events, paths  # noqa: F401 (registers itself)
from lora_bootstrap.host.routes import sweeps as sweep_routes  # noqa: F401 (registers itself)
from lora_bootstrap.host.routes.views import sweep_view
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.pictures import small_copies
from lora_bootstrap.trainer.sweeps import cells
from lora_bootstrap.trainer.sweeps.cells import Sweep

from ...helpers.asking import ask, sent_as_json
from ...helpers.drawn_sweep import draw_sweep, write_lora, write_run, write_scores

NAME = "akane-sweep"


def get(route="sweep", **query):
    return ("GET", f"/lora_bootstrap/{route}", {"params": query})


def marks(revision, best=None, hidden=(), name=NAME):
    return ("POST", "/lora_bootstrap/sweep/marks", {"json": {
        "name": name, "revision": revision, "best": best, "hidden": list(hidden)}})


def promote(key, wanted="", name=NAME):
    return ("POST", "/lora_bootstrap/sweep/promote", {"json": {"name": name, "key": key, "as": wanted}})


@pytest.fixture(autouse=True)
def lora_folders(host, monkeypatch):
    """The host's folders of LoRAs as it has them: models/loras, and output/loras."""
    folders = [host.base / "models" / "loras", host.output / "loras"]

    def full_path(kind, name):
        return next((str(folder / name) for folder in folders if (folder / name).is_file()), None)

    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda kind: list(map(str, folders)), raising=False)
    monkeypatch.setattr(folder_paths, "get_full_path", full_path, raising=False)
    return folders


@pytest.fixture
def files(host):
    return write_run(paths.loras_root())


@pytest.fixture
def sweep(files):
    return draw_sweep(paths.sweeps_root(), files)


def tell(**query):
    ((status, told),) = ask(get(name=NAME, **query))
    assert status == 200
    return told


def test_a_sweep_is_told_with_its_axes_its_cells_and_their_pictures(sweep):
    told = tell()
    assert (told["name"], told["title"], told["revision"], told["without"]) == (NAME, "akane-sweep, drawn", 0, True)
    assert [(axis["name"], len(axis["choices"])) for axis in told["axes"]] == [
        ("checkpoint", 3), ("strength", 3), ("prompt", 3), ("seed", 2)]
    assert told["axes"][0]["choices"] == ["step 50 (epoch 5)", "step 100 (epoch 10)", "step 150 (epoch 15)"]
    assert len(told["cells"]) == 54 + 6 and {cell["state"] for cell in told["cells"]} == {"done"}
    assert told["shared"]["sampler"] == "euler" and told["scores"] is None and told["sheets"] == []
    assert told["marks"] == {"best": None, "hidden": [], "ratings": {}}
    assert told["sheet"] == {"rows": "prompt", "columns": "checkpoint"}
    cell = next(cell for cell in told["cells"] if cell["at"] == [1, 2, 0, 1])
    assert (cell["step"], cell["epoch"], cell["run"], cell["strength"], cell["seed"], cell["base"]) == (
        100, 10, "akane", 1.0, 2, "sandbox")
    assert cell["lora"] == "akane/akane-step000100.safetensors" and cell["more"] == {} and cell["error"] == ""
    reference = next(cell for cell in told["cells"] if cell["at"] == [None, None, 0, 1])
    assert (reference["lora"], reference["step"], reference["strength"]) == ("", None, 0.0)
    assert "lora_sha256" not in json.dumps(told)


def test_a_seed_that_a_browser_would_round_is_sent_as_text(files):
    """https://github.com/n0va39/ComfyUI-EasyUseAnima/issues/784
    https://github.com/ShiftHackZ/Stable-Diffusion-KMP/issues/569"""
    draw_sweep(paths.sweeps_root(), files[:1], strengths=(1.0,), prompts=("akane",), seeds=(2**53 + 1, 7), make=False)
    assert {cell["seed"] for cell in tell()["cells"]} == {"9007199254740993", 7}


def test_cells_that_failed_or_are_missing_are_told_as_such(sweep):
    failed, missing = sweep.cells[0], sweep.cells[1]
    sweep.fail(failed, "out of memory")
    sweep.picture(missing).unlink()
    sweep.record(missing).unlink()
    states = {cell["key"]: cell for cell in tell()["cells"]}
    assert (states[failed.key]["state"], states[failed.key]["error"], states[failed.key]["thumb"]) == (
        "failed", "out of memory", None)
    assert (states[missing.key]["state"], states[missing.key]["full"]) == ("missing", None)
    ((_, (entry,)),) = ask(get("sweeps"))
    assert (entry["cells"], entry["done"], entry["failed"]) == (60, 58, 1)


def test_pictures_come_small_and_as_they_are_with_their_settings(sweep):
    cell = next(cell for cell in tell()["cells"] if cell["at"] == [0, 0, 0, 0])
    ((_, small), (_, full)) = ask(("GET", cell["thumb"], {}), ("GET", cell["full"], {}))
    assert Image.open(io.BytesIO(small)).format == "JPEG"
    assert full == (sweep.cells_folder / f"{cell['key']}.png").read_bytes()
    assert json.loads(Image.open(io.BytesIO(full)).text["lora_bootstrap"])["seed"] == 1
    sweep.sheet.write_bytes(full)
    (sweep.folder / "grid-2.webp").write_bytes(full)
    sheets = tell()["sheets"]
    assert [("file=grid.png&" in sheets[0]), ("file=grid-2.webp&" in sheets[1]), len(sheets)] == [True, True, 2]
    assert ask(("GET", sheets[0], {})) == [(200, full)]


def test_a_thumbnail_decodes_no_image_also_after_a_restart(sweep, monkeypatch):
    cell = sweep.cells[0]
    sweep.save(cell, Image.new("RGB", (300, 200), "red"))
    for module, name in ((small_copies, "open_image"), (small_copies, "thumbnail"), (sweep_view, "thumbnail")):
        monkeypatch.setattr(module, name, lambda *args: pytest.fail("an image was decoded"))
    ((status, small),) = ask(get("sweep/cell", name=NAME, key=cell.key, size="thumb"))
    assert status == 200 and Image.open(io.BytesIO(small)).size == (256, 171)


def test_a_strength_of_zero_shares_its_picture_with_the_one_without_lora(files):
    draw_sweep(paths.sweeps_root(), files, strengths=(0, 1), prompts=("a",), seeds=(1,))
    told = tell()
    keys = [cell["key"] for cell in told["cells"] if cell["strength"] == 0]
    assert len(keys) == 4 and len(set(keys)) == 1
    ((_, (entry,)),) = ask(get("sweeps"))
    assert entry["cells"] == entry["done"] == 4


def test_a_sweep_without_axes_of_the_lora_tells_each_place_once(host):
    axes = (cells.prompt_axis(["a", "b"]), cells.seed_axis([1]))
    Sweep(paths.sweeps_root() / NAME, "", axes, {"strength": 1.0, "lora": "x.safetensors"}, without=True).write()
    assert [cell["at"] for cell in tell()["cells"]] == [[0, 0], [1, 0]]


def test_the_archive_tells_the_newest_first_and_passes_over_what_is_no_sweep(sweep, files):
    draw_sweep(paths.sweeps_root(), files[:1], name="later", seeds=(9,), prompts=("a",))
    (paths.sweeps_root() / "empty").mkdir()
    write_json(paths.sweeps_root() / "damaged" / "manifest.json", {"version": 1, "axes": [5]})
    write_json(paths.sweeps_root() / "other" / "manifest.json", [])
    (paths.sweeps_root() / "a file").write_text("x")
    ((status, told),) = ask(get("sweeps"))
    assert status == 200 and [entry["name"] for entry in told] == ["later", NAME]
    assert told[0]["runs"] == ["akane"] and told[0]["title"] == "later, drawn" and told[0]["cells"] == 4
    assert abs(told[0]["changed"] - time.time()) < 60
    assert ask(get(name="damaged"))[0][0] == 404 and ask(get(name="other"))[0][0] == 404


def test_an_empty_archive_is_told(host):
    assert ask(get("sweeps")) == [(200, [])]


def test_scores_and_the_recommended_are_told(sweep):
    scores = write_scores(sweep)
    assert tell()["scores"] == scores
    ((_, told),) = ask(get("sweep/summary", name=NAME))
    assert told["recommended"] == "step 100 (epoch 10) at 0.8" and told["why"].startswith("the likeliest")
    assert (told["cells"], told["done"], len(told["latest"])) == (60, 60, 8)
    assert ask(("GET", told["latest"][0], {}))[0][0] == 200
    write_json(sweep.folder / "scores.json", {"version": 1, "rows": [], "recommended": 5})
    assert ask(get("sweep/summary", name=NAME))[0][1]["recommended"] == ""


def test_scores_of_other_images_are_not_told(sweep):
    """They were measured on images that are no longer the sweep's."""
    scores = write_scores(sweep)
    keys = list(sweep.states())
    write_json(sweep.folder / "scores.json", {**scores, "cells": keys[:-1]})
    assert tell()["scores"] == scores
    write_json(sweep.folder / "scores.json", {**scores, "cells": ["0" * 16, *keys[1:]]})
    assert tell()["scores"] is None and ask(get("sweep/summary", name=NAME))[0][1]["recommended"] == ""


# -- marks -----------------------------------------------------------------------------------------------------------


def test_ratings_are_saved_with_the_marks_and_a_page_that_knows_none_leaves_them(sweep):
    key = sweep.cells[0].key
    method, path, body = marks(0)
    rated = body["json"] | {"ratings": {key: {"skin": 1, "light": -1}}}
    assert ask((method, path, {"json": rated})) == [(200, {"revision": 1})]
    assert ask(marks(1, key)) == [(200, {"revision": 2})]
    assert tell()["marks"]["ratings"] == {key: {"skin": 1, "light": -1}}
    [(status, _)] = ask((method, path, {"json": body["json"] | {"revision": 2, "ratings": {key: {"skin": 7}}}}))
    assert status == 400


def test_marks_are_saved_and_told_again_and_every_tab_is_told(sweep, host):
    best, hidden = sweep.cells[3].key, [sweep.cells[0].key, sweep.cells[1].key]
    assert ask(marks(0, best, hidden)) == [(200, {"revision": 1})]
    told = tell()
    assert told["marks"] == {"best": {"key": best}, "hidden": hidden, "ratings": {}} and told["revision"] == 1
    assert read_json(sweep.folder / "marks.json") == {
        "version": 1, "revision": 1, "best": best, "hidden": hidden, "ratings": {}}
    assert ("lora_bootstrap.sweep_marks", {"name": NAME, "revision": 1}) in [tuple(sent) for sent in host.server.sent]


def test_the_second_of_two_writers_is_shown_what_the_first_did(sweep):
    one, two = sweep.cells[0].key, sweep.cells[1].key
    first, second, third = ask(marks(0, one), marks(0, two), marks(1, two))
    assert (first[0], second[0], third) == (200, 409, (200, {"revision": 2}))
    assert "somebody else" in second[1]["error"] and second[1]["marks"]["best"] == {"key": one}
    assert second[1]["revision"] == 1 and len(second[1]["cells"]) == 60


def test_marks_on_cells_that_are_gone_are_neither_told_nor_in_the_way(sweep, files):
    ask(marks(0, sweep.cells[0].key, [sweep.cells[-1].key]))
    draw_sweep(paths.sweeps_root(), files[1:], make=False)  # the first checkpoint is not in it any more
    told = tell()
    assert told["marks"] == {"best": None, "hidden": [sweep.cells[-1].key], "ratings": {}} and told["revision"] == 1
    assert ask(marks(1, None, told["marks"]["hidden"])) == [(200, {"revision": 2})]


def test_marks_on_cells_of_an_earlier_plan_stay_until_these_are_drawn_again(sweep, files):
    gone = sweep.cells[0].key
    ask(marks(0, None, [gone]))
    later = draw_sweep(paths.sweeps_root(), files[1:], make=False)  # the first checkpoint is not in it any more
    assert ask(marks(1, None, [later.cells[-1].key])) == [(200, {"revision": 2})]
    assert read_json(sweep.folder / "marks.json")["hidden"] == [later.cells[-1].key, gone]


@pytest.mark.parametrize("key", ["0" * 16, "../marks", ""])
def test_a_cell_there_is_none_of_cannot_be_marked(sweep, key):
    answers = ask(marks(0, key or None, [key]), marks(0, None, ["x"]), promote(key))
    assert [status for status, _ in answers] == [404] * 3 and not (sweep.folder / "marks.json").exists()


@pytest.mark.parametrize("body", [
    None, [], {}, "x", {"name": NAME}, {"name": NAME, "revision": "0", "best": None, "hidden": []},
    {"name": NAME, "revision": True, "best": None, "hidden": []}, {"name": NAME, "revision": 0, "hidden": []},
    {"name": NAME, "revision": 0, "best": 5, "hidden": []}, {"name": NAME, "revision": 0, "best": None, "hidden": "a"},
    {"name": NAME, "revision": 0, "best": None, "hidden": [1]}, {"name": 1, "revision": 0, "best": None, "hidden": []}])
def test_marks_of_another_form_are_refused(sweep, body):
    ((status, told),) = ask(("POST", "/lora_bootstrap/sweep/marks", sent_as_json(json.dumps(body))))
    assert status == 400 and told["error"].startswith("the body must be")


@pytest.mark.parametrize("body", [None, [], "x", {}, {"name": NAME}, {"name": NAME, "key": 5}, {
    "name": NAME, "key": "a", "as": 5}])
def test_a_promotion_of_another_form_is_refused(sweep, body):
    ((status, told),) = ask(("POST", "/lora_bootstrap/sweep/promote", sent_as_json(json.dumps(body))))
    assert status == 400 and told["error"].startswith("the body must be")


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 7, "revision": 0, "best": null, "hidden": []}',
                                  '{"version": 1}'])
def test_damaged_marks_are_told_and_never_written_over(sweep, text):
    (sweep.folder / "marks.json").write_text(text)
    answers = ask(get(name=NAME), marks(0, sweep.cells[0].key))
    assert [status for status, _ in answers] == [404, 404] and "marks.json" in answers[0][1]["error"]
    assert (sweep.folder / "marks.json").read_text() == text


# -- names -----------------------------------------------------------------------------------------------------------

OUTSIDE = ["..", f"../{NAME}", f"{NAME}/..", "/etc", f"{NAME}/cells", "", ".", "none", "akane\0", "C:\\x", "~"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_sweeps_name_leads_anywhere_else(sweep, name):
    key = sweep.cells[0].key
    write_json(paths.output_root() / "manifest.json", read_json(sweep.folder / "manifest.json"))
    answers = ask(get(name=name), get("sweep/summary", name=name), get("sweep/cell", name=name, key=key),
                  get("sweep/sheet", name=name, file="grid.png"), marks(0, key, name=name), promote(key, name=name))
    assert [status for status, _ in answers] == [404] * 6
    assert ask(get(name=name, **{"or": "null"}), get("sweep/summary", name=name, **{"or": "null"})) == [(200, None)] * 2


@pytest.mark.parametrize("key", ["../../grid", "", "0" * 16, "0" * 15, "G" * 16, "../" + "0" * 13, "manifest",
                                 "٣" * 16])
def test_no_key_leads_to_another_picture(sweep, key):
    Image.new("RGB", (8, 8)).save(sweep.folder.parent / "grid.png")
    ((status, told),) = ask(get("sweep/cell", name=NAME, key=key))
    assert status == 404 and told["error"]


@pytest.mark.parametrize("file", ["../grid.png", "marks.json", "cells/a.png", "grid.jpg", "grid-.png", "grid.png/..",
                                  "grid-99999.png", ""])
def test_no_sheets_name_leads_to_another_file(sweep, file):
    (sweep.folder / "marks.json").write_text("{}")
    assert ask(get("sweep/sheet", name=NAME, file=file))[0][0] == 404


def test_a_link_out_of_the_sweep_is_not_followed(sweep, host):
    outside = host.base / "secret.png"
    Image.new("RGB", (8, 8), "red").save(outside)
    (sweep.cells_folder / f"{'a' * 16}.png").symlink_to(outside)
    sweep.sheet.symlink_to(outside)
    answers = ask(get("sweep/cell", name=NAME, key="a" * 16), get("sweep/sheet", name=NAME, file="grid.png"))
    assert [status for status, _ in answers] == [404, 404]


def test_what_is_no_picture_is_told_not_sent(sweep):
    sweep.picture(sweep.cells[0]).write_bytes(b"<script>alert(1)</script>")
    answers = ask(*[get("sweep/cell", name=NAME, key=sweep.cells[0].key, **more) for more in ({}, {"size": "thumb"})])
    assert [status for status, _ in answers] == [404, 404] and "cannot read" in answers[0][1]["error"]
    assert ask(get(name=NAME))[0][0] == 200


# -- using a cell's LoRA ---------------------------------------------------------------------------------------------


def test_a_cells_lora_is_copied_to_the_hosts_loras_and_noted_in_its_run(sweep, files, lora_folders, host):
    cell = sweep.cell(checkpoint=1, strength=1)
    ((status, told),) = ask(promote(cell.key, "Akane v1"))
    assert status == 200 and (told["lora"], told["strength"]) == ("Akane v1.safetensors", 0.8)
    assert "Akane v1.safetensors" in told["message"] and told["revision"] == 1
    assert (lora_folders[0] / told["lora"]).read_bytes() == files[1].read_bytes()
    picked = read_json(files[1].parent / "picked.json")
    at = picked.pop("at")
    assert picked == {"step": 100, "strength": 0.8, "lora": files[1].name, "sweep": NAME, "cell": cell.key}
    assert at.endswith("+00:00") and tell()["marks"]["best"] == {"key": cell.key}
    assert ("lora_bootstrap.sweep_marks", {"name": NAME, "revision": 1}) in [tuple(sent) for sent in host.server.sent]
    assert not list(lora_folders[0].glob(".*"))


def test_without_a_name_it_is_called_as_its_run(sweep):
    ((_, told),) = ask(promote(sweep.cells[0].key))
    assert told["lora"] == "akane.safetensors"


def test_a_file_of_another_content_is_never_overwritten_and_an_identical_one_is_used(sweep, lora_folders):
    theirs = write_lora(lora_folders[0] / "akane.safetensors", 7, "theirs")
    before = theirs.read_bytes()
    one, two = sweep.cell(checkpoint=0), sweep.cell(checkpoint=1)
    names = [told["lora"] for _, told in ask(promote(one.key), promote(one.key), promote(two.key), promote(
        one.key, "akane.safetensors"), promote(two.key, "akane-2"))]
    assert names == ["akane-2.safetensors", "akane-2.safetensors", "akane-3.safetensors", "akane-2.safetensors",
                     "akane-2-2.safetensors"]
    assert theirs.read_bytes() == before


def test_a_cells_lora_is_found_though_another_file_hides_it(sweep, files, lora_folders):
    """https://github.com/willmiao/ComfyUI-Lora-Manager/issues/917"""
    cell = sweep.cell(checkpoint=1, strength=1)
    write_lora(lora_folders[0] / "akane" / files[1].name, 100, "other", 0.9)
    ((status, told),) = ask(promote(cell.key, "mine"))
    assert status == 200 and told["lora"] == "mine.safetensors"
    assert (lora_folders[0] / "mine.safetensors").read_bytes() == files[1].read_bytes()
    assert (files[1].parent / "picked.json").is_file(), "it is noted in the run that made it"


def test_a_name_that_another_folder_would_hide_is_not_taken(sweep):
    write_lora(paths.loras_root() / "akane.safetensors", 7, "top")  # loaders may find this one first
    assert ask(promote(sweep.cells[0].key))[0][1]["lora"] == "akane-2.safetensors"


def test_a_lora_that_is_among_the_hosts_is_used_where_it_is(host, lora_folders):
    file = write_lora(lora_folders[0] / "downloads" / "b.safetensors", 10, "somebody's")
    sweep = draw_sweep(paths.sweeps_root(), [file], prompts=("a",), seeds=(1,))
    cell = sweep.cells[0]
    answers = ask(promote(cell.key), promote(cell.key, "mine"))
    assert [told["lora"] for _, told in answers] == ["downloads/b.safetensors", "mine.safetensors"]
    assert not (file.parent / "picked.json").exists()


def test_a_lora_that_has_changed_or_is_gone_is_refused(sweep, files, lora_folders):
    cell = sweep.cells[0]
    write_lora(files[0], 50, "akane", value=0.25)
    ((status, told),) = ask(promote(cell.key, "x"))
    assert status == 409 and "has changed since" in told["error"]
    files[0].unlink()
    ((status, told),) = ask(promote(cell.key, "x"))
    assert status == 409 and "is gone" in told["error"]
    assert not (lora_folders[0] / "x.safetensors").exists() and not (files[0].parent / "picked.json").exists()
    assert tell()["marks"]["best"] is None


def test_a_cell_without_lora_is_refused(sweep):
    ((status, told),) = ask(promote(sweep.references[0].key))
    assert status == 400 and "without a LoRA" in told["error"]


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/x", ".hidden", "a\0b", "C:x", "x" * 121, ".safetensors"])
def test_no_wanted_name_leads_anywhere_else(sweep, lora_folders, name):
    ((status, told),) = ask(promote(sweep.cells[0].key, name))
    assert status == 400 and "name" in told["error"] and not list(lora_folders[0].rglob("*.safetensors"))


def test_a_host_that_has_only_its_output_folder_is_told_so(sweep, lora_folders):
    del lora_folders[0]
    ((status, told),) = ask(promote(sweep.cells[0].key))
    assert status == 400 and "no LoRA folder" in told["error"]


def test_many_at_once_get_names_of_their_own(sweep, lora_folders):
    places = [sweep.cell(checkpoint=number) for number in range(3)] * 4
    given = [None] * len(places)

    def use(at):
        given[at] = sweep_view.promote(sweep, places[at], "same")["lora"]

    threads = [threading.Thread(target=use, args=(at,)) for at in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(given)) == ["same-2.safetensors", "same-3.safetensors", "same.safetensors"]
    for cell, name in zip(places, given, strict=True):
        assert (lora_folders[0] / name).read_bytes() == Path(paths.lora_file(cell.facts["lora"])).read_bytes()
    assert tell()["revision"] == len(places)


# -- events and size -------------------------------------------------------------------------------------------------


def test_a_sweep_is_told_of_at_most_twice_a_second_and_at_the_end(host, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    for done in range(1, 21):
        events.tell_sweep("s", "7", done, 0, 22)
        now[0] += 0.1
    events.tell_sweep("s", "7", 20, 2, 22)
    sent = [data["done"] for event, data in host.server.sent if event == "lora_bootstrap.sweep"]
    assert sent[0] == 1 and len(sent) in (4, 5) and sent[-1] == 20
    assert host.server.sent[-1][1] == {"name": "s", "node": "7", "done": 20, "failed": 2, "total": 22}


def test_a_thousand_cells_are_told_in_well_under_a_second(host):
    files = write_run(paths.loras_root(), steps=range(10, 110, 10))
    sweep = draw_sweep(paths.sweeps_root(), files, strengths=[n / 10 for n in range(1, 11)], seeds=range(10),
                       prompts=("a",), make=False)
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "PNG")
    sweep.cells_folder.mkdir()
    for cell in sweep.everything:
        sweep.picture(cell).write_bytes(data.getvalue())
        sweep.record(cell).write_text("{}")
    for cell in sweep.cells[:5]:
        sweep.fail(cell, "no")
    started = time.monotonic()
    told = sweep_view.sweep_view(NAME)
    took = time.monotonic() - started
    assert len(told["cells"]) == 1010 and [cell["error"] for cell in told["cells"]].count("no") == 5
    assert took < 1
    started = time.monotonic()
    sweep_view.archive(), sweep_view.summary(NAME)
    assert time.monotonic() - started < 1
    print(f"told in {took * 1000:.0f} ms, {len(json.dumps(told)) / 1000:.0f} kB")
