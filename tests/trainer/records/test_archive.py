"""A project goes into one zip and comes out of it whole; a zip from a stranger brings nothing else."""

import json
import os
import stat
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.trainer.bootstrap.repairs import Wish, change_wishes, list_wished
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.bootstrap.status import project_status, style_run
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.records import write_archive, zips
from lora_bootstrap.trainer.records.read_archive import import_project
from lora_bootstrap.trainer.records.write_archive import export_project
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.archived_project import LAYER, rewrite, write_whole_project


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    output = tmp_path_factory.mktemp("here")
    write_whole_project(output)
    return output


@pytest.fixture(scope="module")
def archive(here, tmp_path_factory):
    return export_project(here, "akane", tmp_path_factory.mktemp("zips") / "akane.zip").file


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def where_it_stands(output, name):
    status = project_status(output / "bootstrap" / name, output / "loras")
    return [(stage.name, stage.done, stage.text) for stage in status.stages], status.next


def test_a_project_comes_out_of_its_archive_as_it_went_in(here, archive, tmp_path):
    done = import_project(tmp_path, archive)
    assert (done.name, done.runs) == ("akane", ("akane", "akane-style-1"))
    before, after = contents(here), contents(tmp_path)
    rewritten = {"bootstrap/akane/project.json", "loras/akane/run.json", "loras/akane-style-1/run.json"}
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= rewritten
    assert where_it_stands(tmp_path, "akane") == where_it_stands(here, "akane")
    assert Project.load(done.folder).config.picture == str(tmp_path / "bootstrap" / "akane" / "picture.png")
    assert read_run(tmp_path / "loras" / "akane").facts == read_run(here / "loras" / "akane").facts


def test_no_path_of_the_machine_is_in_the_records_of_an_archive(here, archive):
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.endswith(".json"):
                assert str(here) not in opened.read(name).decode(), name


def test_a_taken_name_gets_a_number_and_the_names_inside_follow_it(archive, tmp_path):
    import_project(tmp_path, archive)
    first = contents(tmp_path)
    done = import_project(tmp_path, archive)
    assert (done.name, done.runs) == ("akane-2", ("akane-2", "akane-2-style-1"))
    assert {name: data for name, data in contents(tmp_path).items() if name in first} == first
    assert where_it_stands(tmp_path, "akane-2") == where_it_stands(tmp_path, "akane")
    run = read_run(tmp_path / "loras" / "akane-2-style-1")
    assert run.finished and run.facts["config"]["name"] == "akane-2-style-1" and run.lineage["project"] == "akane-2"
    facts = read_json(done.folder / "project.json")["stages"]["character"]["facts"]
    assert facts == {"run": "loras/akane-2", "lora": "loras/akane-2/akane.safetensors"}
    with pytest.raises(UserError, match="'akane'.* exists already.*such as akane-3"):
        import_project(tmp_path, archive, "akane")
    assert import_project(tmp_path, archive, "mine").runs == ("mine", "mine-style-1")


def test_the_original_is_in_the_archive_wherever_it_lies(tmp_path):
    folder = write_whole_project(tmp_path / "here")
    elsewhere = tmp_path / "my picture.PNG"
    os.rename(folder / "picture.png", elsewhere)
    record = read_json(folder / "project.json")
    write_json(folder / "project.json", {**record, "settings": {**record["settings"], "picture": str(elsewhere)}})
    file = export_project(tmp_path / "here", "akane", tmp_path / "a.zip").file
    done = import_project(tmp_path / "there", file)
    assert (done.folder / "picture.png").read_bytes() == elsewhere.read_bytes()
    assert Project.load(done.folder).config.picture == str(done.folder / "picture.png")


def test_training_states_and_files_of_others_stay_out_unless_asked(tmp_path):
    folder = write_whole_project(tmp_path)
    (folder / "crops" / "sketch.psd").write_bytes(b"mine")
    state = tmp_path / "loras" / "akane" / "state" / "state.safetensors"
    state.parent.mkdir()
    save_file({"step": torch.zeros(1)}, state)
    done = export_project(tmp_path, "akane", tmp_path / "a.zip")
    assert done.left_out == {"akane/crops/sketch.psd": "it does not belong to a project"}
    assert zipfile.ZipFile(done.file).read("left_out.txt") == (
        b"akane/crops/sketch.psd: it does not belong to a project\n")
    assert "runs/akane/state/state.safetensors" not in zipfile.ZipFile(done.file).namelist()
    export_project(tmp_path, "akane", tmp_path / "a.zip", state=True)
    import_project(tmp_path / "there", tmp_path / "a.zip")
    assert (tmp_path / "there/loras/akane/state/state.safetensors").read_bytes() == state.read_bytes()


def test_what_is_too_large_for_an_import_or_for_the_disk_is_refused_before_it_is_written(here, tmp_path, monkeypatch):
    def refusal():
        with pytest.raises(UserError) as refused:
            export_project(here, "akane", tmp_path / "a.zip")
        assert not any(tmp_path.iterdir())
        return str(refused.value)

    told = []
    export_project(here, "akane", tmp_path / "a.zip", tell=lambda *bytes: told.append(bytes))
    (tmp_path / "a.zip").unlink()
    size = told[0][1]
    assert [done for done, _ in told] == sorted({done for done, _ in told}) and told[-1][0] <= size
    monkeypatch.setattr(write_archive.shutil, "disk_usage", lambda path: SimpleNamespace(free=size - 1))
    assert "left. Free some space" in refusal()
    monkeypatch.setattr(write_archive, "MOST_BYTES", size - 1)
    assert "an archive may have 100000 files" in refusal()
    monkeypatch.setattr(write_archive, "MOST_FILES", len(told) - 1)
    assert f"an archive may have {len(told) - 1} files" in refusal()


def test_memory_holds_a_part_of_one_file(tmp_path):
    write_whole_project(tmp_path / "here")
    large = tmp_path / "here/loras/akane/akane-step000050.safetensors"
    save_file({f"{LAYER}.lora_down.weight": torch.zeros(48, 2**18), f"{LAYER}.lora_up.weight": torch.zeros(4, 48)},
              large)
    tracemalloc.start()
    try:
        done = export_project(tmp_path / "here", "akane", tmp_path / "a.zip")
        import_project(tmp_path / "there", done.file)
        assert done.bytes > 48 * 2**20 and tracemalloc.get_traced_memory()[1] < 12 * 2**20
    finally:
        tracemalloc.stop()


DAMAGED = {
    "round_1/candidates/r1-001.json": b'{"name": "r1-', "round_1/candidates/my-workflow.json": b'{"nodes": []}',
    "round_1/candidates/r1-002.png": b"", "round_1/picks.json": b"{", "round_1/again.json": b"[]", "notes.json": b"[]",
    "crops/A.png": None, "crops/a.png": None, "crops/0-crop.txt": b"\0", "picture.png": b"cut",
    "grid/grid.json": b"[" * 900 + b"]" * 900, "crops/" + "花" * 45 + ".png": None}
"""Files beside or instead of a project's own; None for an image."""


def test_what_is_exported_is_always_imported_without_what_is_damaged(tmp_path):
    folder = write_whole_project(tmp_path / "here")
    for name, data in DAMAGED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "crops" / "1-crop.png").read_bytes() if data is None else data)
    nested = tmp_path / "here" / "loras" / "akane" / "run.json"
    nested.write_text(nested.read_text().replace('"lineage": {', '"lineage": {"x": ' + "[" * 900 + "]" * 900 + ",", 1))
    done = export_project(tmp_path / "here", "akane", tmp_path / "a.zip")
    assert done.left_out.keys() == {"akane", *(f"akane/{name}" for name in DAMAGED if name != "crops/A.png")}
    assert "upper and lower case" in done.left_out["akane/crops/a.png"] and "nested" in done.left_out["akane"]
    assert str(tmp_path) not in "".join(done.left_out.values()) and done.runs == ("akane-style-1",)
    assert import_project(tmp_path / "there", done.file).runs == done.runs
    assert not list((tmp_path / "there").rglob("left_out.txt"))


def test_images_that_wait_to_be_drawn_again_are_in_the_archive(tmp_path):
    round_ = Project.load(write_whole_project(tmp_path / "here")).round(1)
    change_wishes(round_, [Wish("01234567", "r1-001", 7)])
    file = export_project(tmp_path / "here", "akane", tmp_path / "a.zip").file
    wished = list_wished(Project.load(import_project(tmp_path / "there", file).folder).round(1))
    assert [item.wish for item in wished] == [Wish("01234567", "r1-001", 7)]


def test_a_copied_project_folder_goes_into_the_archive_under_the_project_s_name(tmp_path):
    folder = write_whole_project(tmp_path / "here")
    record = read_json(folder / "project.json")
    record["stages"]["character"]["facts"]["grid"] = "bootstrap/copy/grid/grid.png"
    write_json(folder / "project.json", record)
    folder.rename(folder.with_name("copy"))
    file = export_project(tmp_path / "here", "copy", tmp_path / "a.zip").file
    done = import_project(tmp_path / "there", file, "mine")
    assert done.archived == "akane"
    assert Project.load(done.folder).config.picture == str(tmp_path / "there" / "bootstrap" / "mine" / "picture.png")
    facts = read_json(done.folder / "project.json")["stages"]["character"]["facts"]
    assert facts["grid"] == "bootstrap/mine/grid/grid.png"


@pytest.mark.parametrize(("name", "folder", "renamed"), [
    ("akane", "akaneX", "mine-akaneX"), ("akane", "akane-style-1-2", "mine-style-1-2"),
    ("x" * 120, style_run("x" * 120, 1), "mine-style-1")])
def test_runs_are_renamed_with_their_project(name, folder, renamed, tmp_path):
    write_whole_project(tmp_path / "here", name)
    runs = tmp_path / "here" / "loras"
    (runs / style_run(name, 1)).rename(runs / folder)
    file = export_project(tmp_path / "here", name, tmp_path / "a.zip").file
    assert set(import_project(tmp_path / "there", file, "mine").runs) == {"mine", renamed}
    assert read_run(tmp_path / "there" / "loras" / renamed).facts["config"]["name"] == "mine-style-1"


# -- archives of strangers ---------------------------------------------------------------------------------------------


def linked(name, target="/etc/passwd"):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


CROP = "project/crops/0-crop.png"
PICKLE = b"\x80\x04}q\x00."
HOSTILE = {
    "a path that leads out": ({"project/crops/../../../x.png": b"x"}, "not a name that every machine"),
    "an absolute path": ({"/project/x.png": b"x"}, "not a name that every machine"),
    "a path of Windows": ({"project/crops/..\\x.png": b"x"}, "not a name that every machine"),
    "a device of Windows": ({"project/crops/CON.png": b"x"}, "not a name that every machine"),
    "a hidden file": ({"project/crops/.lock.txt": b"x"}, "not a name that every machine"),
    "a name that differs only in case": ({"project/crops/0-CROP.png": b"x"}, "twice"),
    "a program": ({"project/crops/setup.exe": b"MZ"}, "does not belong to a project"),
    "a page": ({"project/report.html": b"<script>"}, "does not belong to a project"),
    "a file that unpacks to a thousand times its size": ({"project/notes.json": b"0" * (3 * 2**20)}, "unpacks to more"),
    "a file that is too large": ({"project/crops/0-crop.txt": os.urandom(2 * 2**20)}, "unpacks to more than 1 MB"),
    "an image that cannot be read": ({CROP: b"no image"}, "project/crops/0-crop.png"),
    "a caption that is not a text": ({"project/crops/0-crop.txt": b"\0\0"}, "not a text"),
    "a lineage without a name": ({"project/round_1/candidates/r1-000.json": b"{}"}, "has no 'name'"),
    "decisions that cannot be read": ({"project/round_1/decisions.json": b"[]"}, "decisions.json"),
    "picks that cannot be read": ({"project/round_1/picks.json": b'{"picks": 1}'}, "picks.json"),
    "a record that is not a run's": ({"runs/akane/run.json": b"{}"}, "not the folder of a training run"),
    "a run without its record": ({"runs/akane/run.json": None}, "without its run.json"),
    "a list that is nested without end": ({"project/grid/grid.json": b"[" * 900 + b"]" * 900}, "nested more than 100"),
    "a pickle": ({"runs/akane/akane.safetensors": PICKLE}, "not a complete safetensors file"),
    "a record that is not a project's": ({"project/project.json": b"[]"}, "is not a project"),
    "no project": ({"project/project.json": None}, "no project/project.json"),
    "no archive": ({"archive.json": None}, "holds no archive.json"),
    "an archive of a later version": ({"archive.json": b'{"format": 2, "project": "akane"}'}, "format 2"),
    "another project's name": ({"archive.json": b'{"format": 1, "project": "x"}'}, "name different projects"),
}


def refuse(output, file, words):
    with pytest.raises(UserError, match=words) as error:
        import_project(output, file)
    assert "\n" not in str(error.value) and str(output) not in str(error.value)
    assert [path for path in output.rglob("*") if path.name not in ("bootstrap", "loras")] == []


@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_is_refused_as_a_whole_for(what, archive, tmp_path):
    changes, words = HOSTILE[what]
    with zipfile.ZipFile(rewrite(archive, tmp_path / "b.zip", **{name: None for name in changes}), "a",
                         zipfile.ZIP_DEFLATED) as opened:
        for name, data in changes.items():
            if data is not None:
                opened.writestr(name, data)
    refuse(tmp_path / "there", tmp_path / "b.zip", words)


def test_links_are_refused(archive, tmp_path):
    file = rewrite(archive, tmp_path / "b.zip")
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr(*linked("project/crops/link.txt"))
    refuse(tmp_path / "there", file, "a link or a device")


def test_a_file_that_is_not_a_whole_zip_is_refused(archive, tmp_path):
    data = archive.read_bytes()
    for number, broken in enumerate((b"no zip", data[:-200], data.replace(b"akane-style-1", b"akane-style-2", 1),
                                     data[:3000] + b"\0" * 500 + data[3500:])):
        file = tmp_path / f"{number}.zip"
        file.write_bytes(broken)
        refuse(tmp_path / "there", file, "not a whole zip")
    with pytest.raises(UserError, match="cannot read .*none.zip"):
        import_project(tmp_path / "there", tmp_path / "none.zip")


def test_a_list_of_files_without_end_is_not_read(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MOST_DIRECTORY", 1000)
    refuse(tmp_path / "there", archive, "list of files is too long")
    monkeypatch.undo()
    monkeypatch.setattr(zips, "MOST_FILES", 5)
    refuse(tmp_path / "there", archive, "5 are the most")


def test_more_bytes_than_an_archive_may_have_are_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MOST_BYTES", 2000)
    refuse(tmp_path / "there", archive, "unpacks to more")


def test_a_size_that_the_zip_understates_is_counted_as_it_comes(archive, tmp_path):
    file, large = rewrite(archive, tmp_path / "b.zip"), b"0" * 3_333_333
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("project/notes.json", large)
    size = len(large).to_bytes(4, "little")
    assert file.read_bytes().count(size) == 2  # before the file, and in the zip's directory
    file.write_bytes(file.read_bytes().replace(size, (10).to_bytes(4, "little")))
    refuse(tmp_path / "there", file, "not a whole zip that can be read .Bad CRC-32")


def test_an_image_elsewhere_on_this_machine_is_not_the_project_s(archive, tmp_path):
    with zipfile.ZipFile(archive) as opened:
        record = json.loads(opened.read("project/project.json"))
    record["settings"]["picture"] = "/etc/hostname.png"
    file = rewrite(archive, tmp_path / "b.zip", **{"project/picture.png": None,
                                                   "project/project.json": json.dumps(record).encode()})
    assert Project.load(import_project(tmp_path / "there", file).folder).config.picture == ""


def test_a_name_that_cannot_be_taken_leaves_nothing_behind(archive, tmp_path, monkeypatch):
    real, done = os.rename, []

    def fail_late(source, target):
        if Path(target).name == "akane" and Path(target).parent.name == "bootstrap":
            raise OSError(28, "No space left on device")
        done.append(target)
        real(source, target)

    monkeypatch.setattr(os, "rename", fail_late)
    with pytest.raises(UserError, match="the disk is full"):
        import_project(tmp_path / "there", archive)
    assert len(done) == 4 and contents(tmp_path / "there") == {}


def test_the_command_line_writes_and_reads_an_archive(here, tmp_path, capsys):
    from ...helpers.command_line import run

    assert run("project", "export", "akane", tmp_path / "a.zip", "--output", here) == 0
    assert run("project", "import", tmp_path / "a.zip", "--output", tmp_path / "there", "--name", "mine") == 0
    assert "project mine (in the archive: akane)" in capsys.readouterr().out
    assert run("project", "export", "nobody", tmp_path / "b.zip", "--output", here) == 2
    assert "there is no project 'nobody'" in capsys.readouterr().err and not (tmp_path / "b.zip").exists()
