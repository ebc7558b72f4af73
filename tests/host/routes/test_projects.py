"""The routes of a project as a whole: its report, its archive, and its notes."""

import io
import json
import zipfile

from lora_bootstrap.host.routes import answers, projects  # noqa: F401 (registers itself)
from lora_bootstrap.trainer.bootstrap import rounds
from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.notebook import Notebook
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.records import write_archive

from ...helpers.archived_project import write_whole_project
from ...helpers.asking import ask

BASE = "/lora_bootstrap/project"


def sending(data, **query):
    return ("POST", f"{BASE}/archive", {"params": {"file": "akane.zip", **query}, "data": data,
                                        "headers": {"Content-Type": "application/octet-stream"}})


def noting(**body):
    return ("POST", f"{BASE}/notes", {"json": {"project": "akane", **body}})


def test_a_project_is_downloaded_and_uploaded_under_a_free_name(host):
    write_whole_project(host.output)
    ((status, data),) = ask(("GET", f"{BASE}/archive", {"params": {"name": "akane"}}))
    assert status == 200 and "runs/akane/akane.safetensors" in zipfile.ZipFile(io.BytesIO(data)).namelist()
    answers = ask(sending(data), sending(data, wanted="akane"), sending(b"no zip"),
                  ("GET", BASE, {"params": {"name": "akane-2"}}))
    assert [status for status, _ in answers] == [200, 400, 400, 200]
    told = answers[0][1]
    assert (told["name"], told["archived"], told["runs"]) == ("akane-2", "akane", ["akane-2", "akane-2-style-1"])
    assert told["picture"] == "bootstrap/akane-2/picture.png" and (host.output / told["picture"]).is_file()
    assert "such as akane-3" in answers[1][1]["error"] and "akane.zip is not a whole zip" in answers[2][1]["error"]
    assert not list((host.base / "temp").rglob("*.tmp")) and not list((host.output / "bootstrap").glob(".*"))


def test_packing_is_told_to_its_end_and_so_is_why_it_cannot_be(host, monkeypatch):
    write_whole_project(host.output)
    ((_, data),) = ask(("GET", f"{BASE}/archive", {"params": {"name": "akane"}}))
    told = [values for event, values, *_ in host.server.sent if event == "lora_bootstrap.archive"]
    assert 0 < told[0]["done"] < told[0]["total"] and told[-1] == {
        "name": "akane", "done": len(data), "total": len(data), "problem": ""}
    monkeypatch.setattr(write_archive, "MOST_FILES", 3)
    ((status, answer),) = ask(("GET", f"{BASE}/archive", {"params": {"name": "akane"}}))
    assert status == 400 and host.server.sent[-1][1]["problem"] == answer["error"]


def test_a_project_is_imported_where_the_folder_of_projects_is_a_link(host):
    write_whole_project(host.output)
    ((_, data),) = ask(("GET", f"{BASE}/archive", {"params": {"name": "akane"}}))
    (host.output / "bootstrap").rename(host.base / "disk")
    (host.output / "bootstrap").symlink_to(host.base / "disk")
    ((status, told),) = ask(sending(data))
    assert (status, told["name"], told["picture"]) == (200, "akane-2", "")


def test_an_upload_that_is_larger_than_the_host_allows_names_the_command_line(host, monkeypatch):
    monkeypatch.setattr(answers.args, "max_upload_size", 0.001)
    ((status, told),) = ask(sending(b"0" * 2000))
    assert status == 413 and "lora-bootstrap project import" in told["error"]


def test_the_report_is_a_page_that_runs_nothing(host):
    folder = write_whole_project(host.output)
    ((status, page), (missing, _)) = ask(*(("GET", f"{BASE}/report", {"params": {"name": name}})
                                           for name in ("akane", "nobody")), headers=(headers := []))
    assert (status, missing) == (200, 404) and b"Round 1: kept" in page
    assert (folder / "report.html").read_bytes() == page
    assert {"default-src 'none'", "sandbox"} <= set(headers[0]["Content-Security-Policy"].split("; "))


def test_notes_are_saved_by_revision_and_shown_in_panel_and_gallery(host):
    folder = write_whole_project(host.output)
    answers = ask(noting(revision=0, goal=" For night scenes. ", rounds={"1": "more from behind"}),
                  noting(revision=0, goal="lost"), noting(revision=1, rounds={"7": "x"}), noting(revision=1, goal=3),
                  noting(revision=1, goal="x" * 5000), ("GET", BASE, {"params": {"name": "akane"}}),
                  ("GET", "/lora_bootstrap/candidates", {"params": {"project": "akane", "round": 1}}))
    assert [status for status, _ in answers] == [200, 409, 400, 400, 400, 200, 200]
    project, round_ = answers[5][1], answers[6][1]
    assert (project["goal"], project["round_notes"], project["notes_revision"]) == (
        "For night scenes.", {"1": "more from behind"}, 1)
    assert round_["notes"][:3] == ["Goal: For night scenes.", "Round 1: more from behind", "A note."]
    assert Notebook.of(folder).goal == "For night scenes." and json.loads((folder / "notes.json").read_text())


def test_damaged_notes_cost_only_themselves(host):
    (write_whole_project(host.output) / "notes.json").write_text("[]")
    answers = ask(("GET", BASE, {"params": {"name": "akane"}}), noting(revision=0, goal="x"),
                  ("GET", "/lora_bootstrap/candidates", {"params": {"project": "akane", "round": 1}}))
    assert [status for status, _ in answers] == [200, 400, 200] and "notes.json" in answers[1][1]["error"]


def test_a_round_is_shown_with_one_look_at_each_lineage_and_the_decisions_read_once(host, monkeypatch):
    file = write_whole_project(host.output, candidates=12) / "round_1" / "decisions.json"
    looks, read, decided, read_json = [], Lineage.read, [], rounds.read_record
    monkeypatch.setattr(Lineage, "read", lambda path: looks.append(path) or read(path))
    monkeypatch.setattr(rounds, "read_record", lambda *given: decided.append(given[0]) or read_json(*given))
    shown = ("GET", "/lora_bootstrap/candidates", {"params": {"project": "akane", "round": 1}})
    ((status, first),) = ask(shown)
    assert status == 200 and len(looks) == 12
    ((_, again),) = ask(shown)
    assert again == first and decided == [file]
    write_json(file, {**json.loads(file.read_text()), "notes": ["Another note."]})
    ((_, changed),) = ask(shown)
    assert "Another note." in changed["notes"] and decided == [file, file]
