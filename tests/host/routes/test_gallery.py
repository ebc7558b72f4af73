"""The gallery's routes: what they tell, what they save, two writers, many candidates, and all that is refused."""

import io
import json
import time

import pytest
from PIL import Image

from lora_bootstrap.host import paths
from lora_bootstrap.trainer.bootstrap.curation.curate_round import curate_round
from lora_bootstrap.trainer.bootstrap.repairs import keep_repaired
from lora_bootstrap.trainer.common.files import read_json, write_json

from ...helpers.asking import ask, sent_as_json
from ...helpers.drawn_project import draw_project, draw_round

MANY = 3_000


def get(project="zqx", number=1, **more):
    return ("GET", "/lora_bootstrap/candidates", {"params": {"project": project, "round": str(number), **more}})


def post(revision, changes, project="zqx", number=1, label="by hand"):
    return ("POST", "/lora_bootstrap/candidates/picks", {"json": {
        "project": project, "round": number, "revision": revision, "label": label,
        "changes": [{"candidate": name, "pick": pick} for name, pick in changes.items()]}})


@pytest.fixture
def project(host):
    project = draw_project(paths.projects_root())
    draw_round(project, 1)
    return project


@pytest.fixture
def names(project):
    return [path.stem for path in project.round(1).list_candidates()]


def test_a_round_is_told_before_it_was_curated(project, names):
    ((status, told),) = ask(get())
    assert status == 200 and [row["name"] for row in told["candidates"]] == names
    assert (told["target"], told["revision"], told["eye"], told["figures"]) == (8, 0, "", None)
    assert len(told["crops"]) == 3 and sum(told["quotas"]["angle"].values()) >= 5
    row = told["candidates"][0]
    assert row["reason"] == "not measured yet" and row["scores"] == {} and not row["proposed"] and not row["carried"]
    assert row["pick"] == {"state": "", "tags": None, "crop": None, "flip": False, "note": ""}
    assert (row["width"], row["height"]) == (64, 64) and row["tags"][:2] == ["zqx", "1girl"]


def test_a_packed_round_says_the_same_in_fewer_bytes(project, names):
    curate_round(project.round(1), wanted=5, size=(64, 64), reference=None, eye=None)
    ask(post(0, {names[0]: {"tags": ["zqx", "a new word"], "flip": True}, names[-1]: {"state": "keep"}}))
    (_, plain), (_, told) = ask(get(), get(packed="1"))
    packed = told.pop("packed")
    words, columns = packed["words"], packed["columns"]
    in_words = {"prompt": lambda places: ", ".join(words[place] for place in places),
                "tags": lambda places: [words[place] for place in places], "reason": words.__getitem__,
                "view": lambda places: {axis: words[place] for axis, place in places.items()}}

    def read(row):
        found = {name: column["each"][row] if "each" in column else column["rows"].get(str(row), column["usual"])
                 for name, column in columns.items()}
        found |= {name: change(found[name]) for name, change in in_words.items()}
        start = f"/lora_bootstrap/candidate?project=zqx&round=1&name={found['name']}"
        version = found.pop("version")
        return {**found, "thumb": f"{start}&size=thumb&v={version}", "full": f"{start}&v={version}"}

    candidates = plain.pop("candidates")
    assert [read(row) for row in range(packed["count"])] == candidates and told == plain
    assert "each" in columns["name"] and columns["width"] == {"usual": 64, "rows": {}} and len(words) == len(set(words))
    assert 2 * len(json.dumps(packed)) < len(json.dumps(candidates))


def test_a_packed_round_without_candidates_is_empty(host):
    draw_project(paths.projects_root())
    ((_, told),) = ask(get(packed="1"))
    assert told["packed"] == {"count": 0, "words": [], "columns": {}}


def test_what_curation_found_is_told(project):
    curate_round(project.round(1), wanted=5, size=(64, 64), reference=None, eye=None)
    ((_, told),) = ask(get())
    assert sum(row["proposed"] for row in told["candidates"]) == 5 and told["figures"]["kept"] == 5
    assert all("novelty" in row["scores"] for row in told["candidates"]) and told["notes"]


def test_what_was_kept_before_is_told_as_carried(project, names):
    ask(post(0, dict.fromkeys(names[:2], {"state": "keep"})))
    draw_round(project, 2)
    ((_, told),) = ask(get(number=2))
    assert [row["name"] for row in told["candidates"] if row["carried"]] == names[:2]
    assert told["target"] == 12 and len(told["candidates"]) == 18


def test_pictures_come_small_and_as_they_are(project):
    ((_, told),) = ask(get())
    row, crop = told["candidates"][0], told["crops"][0]
    answers = ask(*[("GET", path, {}) for path in (row["thumb"], row["full"], crop["thumb"], crop["full"])])
    images = [Image.open(io.BytesIO(data)) for _, data in answers]
    assert [image.format for image in images] == ["JPEG", "PNG"] * 2
    assert answers[1][1] == (project.round(1).candidates_folder / f"{row['name']}.png").read_bytes()


def test_a_candidate_has_a_small_copy_on_disk_and_the_folder_of_crops_none(project):
    ((_, told),) = ask(get())
    row, crop = told["candidates"][0], told["crops"][0]
    for folder, name in ((project.round(1).candidates_folder, row["name"]), (project.crops_folder, crop["name"])):
        Image.new("RGB", (300, 200), "red").save(folder / f"{name}.png")
    answers = ask(*[("GET", path, {}) for path in (row["thumb"], crop["thumb"])])
    assert [Image.open(io.BytesIO(data)).size for _, data in answers] == [(256, 171)] * 2
    assert (project.round(1).candidates_folder / ".small" / f"{row['name']}.jpg").read_bytes() == answers[0][1]
    assert not (project.crops_folder / ".small").exists()


def test_picks_are_saved_and_told_again_with_their_history(project, names):
    ((status, told),) = ask(post(0, {names[0]: {"state": "keep", "tags": ["zqx", "wink"]}, names[1]: {
        "state": "reject", "note": "two tails"}}, label="first"))
    assert (status, told) == (200, {"revision": 1})
    ((_, again),) = ask(get())
    assert again["candidates"][0]["pick"]["tags"] == ["zqx", "wink"] and again["revision"] == 1
    (step,) = again["history"]
    assert step["label"] == "first" and [change["after"]["state"] for change in step["changes"]] == ["keep", "reject"]
    assert read_json(project.round(1).picks_file)["picks"][names[1]]["note"] == "two tails"


def again(add=(), remove=(), project="zqx", number=1):
    return ("POST", "/lora_bootstrap/candidates/again", {"json": {
        "project": project, "round": number, "add": list(add), "remove": list(remove)}})


def test_what_is_to_be_drawn_again_is_told_until_it_is_taken_back(project, names):
    ((status, told),) = ask(again([{"candidate": names[0], "seed": 5, "prompt": "", "strength": 0.8}]))
    assert status == 200
    (wish,) = told["again"]
    assert (wish["candidate"], wish["seed"], wish["strength"], wish["name"]) == (
        names[0], 5, 0.8, f"r1-000-{wish['id']}")
    ((_, shown),) = ask(get())
    assert shown["again"] == [wish] and len(shown["candidates"]) == len(names)
    (gone, unknown, worse, bad, nowhere) = ask(
        again(remove=[wish["id"]]), again([{"candidate": "r1-999", "seed": 5}]), again([{"candidate": names[0]}]),
        again([5]), again(number=7))
    assert gone == (200, {"again": []})
    assert [status for status, _ in (unknown, worse, bad, nowhere)] == [400, 400, 400, 404]


def test_a_repaired_candidate_names_the_one_that_it_was_repaired_from(project, names):
    new = keep_repaired(project.round(1), names[1], Image.new("RGB", (64, 64), "red")).stem
    ((_, told),) = ask(get())
    rows = {row["name"]: row for row in told["candidates"]}
    assert (rows[new]["repaired_from"], rows[names[0]]["repaired_from"], rows[new]["again_of"]) == (names[1], "", "")


def test_the_second_of_two_writers_is_shown_what_the_first_did(project, names):
    (first, second, third) = ask(post(0, {names[0]: {"state": "keep"}}), post(0, {names[0]: {"state": "reject"}}),
                                 post(1, {names[0]: {"state": "reject"}}))
    assert (first[0], second[0], third) == (200, 409, (200, {"revision": 2}))
    assert "somebody else" in second[1]["error"] and second[1]["revision"] == 1
    assert second[1]["candidates"][0]["pick"]["state"] == "keep"


def test_every_tab_is_told_that_something_was_picked(project, names, host):
    ask(post(0, {names[0]: {"state": "keep"}}))
    assert ("lora_bootstrap.project", {"name": "zqx"}) in [tuple(sent[:2]) for sent in host.server.sent]


@pytest.mark.parametrize("pick", [{"state": "maybe"}, {"crop": [0, 0, 999, 999]}, {"crop": [0, 0]}, {"tags": "a"},
                                  {"colour": 1}, {"flip": "yes"}])
def test_a_value_that_cannot_be_is_refused_and_nothing_saved(project, names, pick):
    ((status, told),) = ask(post(0, {names[0]: {"state": "keep"}, names[1]: pick}))
    assert status == 400 and told["error"] and not project.round(1).picks_file.exists()


@pytest.mark.parametrize("body", [
    None, [], {}, {"project": "zqx"}, {"project": "zqx", "round": "1", "revision": 0, "label": "", "changes": []},
    {"project": "zqx", "round": True, "revision": 0, "label": "", "changes": []},
    {"project": "zqx", "round": 1, "revision": 0, "label": "", "changes": [{"candidate": 5, "pick": {}}]},
    {"project": "zqx", "round": 1, "revision": 0, "label": "", "changes": [{"candidate": "a"}]}])
def test_a_body_of_another_form_is_refused(project, body):
    ((status, told),) = ask(("POST", "/lora_bootstrap/candidates/picks", sent_as_json(json.dumps(body))))
    assert status == 400 and told["error"].startswith("the body must be")


OUTSIDE = ["..", "../zqx", "zqx/..", "/etc", "zqx/round_1", "", ".", "datasets", "none", "zqx\0", "C:\\x", "~"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_projects_name_leads_anywhere_else(project, name):
    answers = ask(get(name), ("GET", "/lora_bootstrap/project", {"params": {"name": name}}),
                  post(0, {"r1-000-abcdef": {"state": "keep"}}, project=name),
                  ("GET", "/lora_bootstrap/candidate", {"params": {"project": name, "round": "1", "name": "0-whole"}}))
    assert [status for status, _ in answers] == [404] * 4
    assert ask(get(name, **{"or": "null"})) == [(200, None)]


@pytest.mark.parametrize("name", ["../crops/0-whole", "r1-../../picture", "../../project", "picture", "project.json",
                                  "r1-000", "r2-000-abcdef", "r99-000-abcdef", "", "r1-000-abcdef/../x"])
def test_no_pictures_name_leads_anywhere_else(project, name):
    ((status, told),) = ask(("GET", "/lora_bootstrap/candidate", {"params": {
        "project": "zqx", "round": "1", "name": name}}))
    assert status == 404 and told["error"]


def test_a_link_out_of_the_project_is_not_followed(project, host):
    outside = host.base / "secret.png"
    Image.new("RGB", (8, 8), "red").save(outside)
    link = project.round(1).candidates_folder / "r1-777-abcdef.png"
    link.symlink_to(outside)
    ((status, _),) = ask(("GET", "/lora_bootstrap/candidate", {"params": {
        "project": "zqx", "round": "1", "name": link.stem}}))
    assert status == 404


@pytest.mark.parametrize("number", ["0", "3", "-1", "x", "", "1.0", "٣", "99999999999999999999"])
def test_a_round_there_is_none_of_is_refused(project, number):
    answers = ask(get(number=number), ("GET", "/lora_bootstrap/candidate", {"params": {
        "project": "zqx", "round": number, "name": "0-whole"}}))
    assert [status for status, _ in answers] == [404, 404]


def test_a_candidate_that_is_no_picture_is_told_not_sent(project, names):
    path = project.round(1).candidates_folder / f"{names[0]}.png"
    path.write_bytes(b"<script>alert(1)</script>")
    answers = ask(*[("GET", "/lora_bootstrap/candidate", {"params": {
        "project": "zqx", "round": "1", "name": names[0], **more}}) for more in ({}, {"size": "thumb"})])
    assert [status for status, _ in answers] == [404, 404] and "cannot read" in answers[0][1]["error"]
    assert ask(get())[0][0] == 200


def test_an_unknown_candidate_is_refused(project):
    ((status, told),) = ask(post(0, {"r1-999-abcdef": {"state": "keep"}}))
    assert status == 404 and "no candidate 'r1-999-abcdef'" in told["error"]


def test_thousands_of_candidates_are_told_and_decided_on_in_seconds(project, names):
    folder = project.round(1).candidates_folder
    data, lineage = (folder / f"{names[0]}.png").read_bytes(), read_json(folder / f"{names[0]}.json")
    for number in range(len(names), MANY):
        name = f"r1-{number:05d}-abcdef"
        (folder / f"{name}.png").write_bytes(data)
        (folder / f"{name}.json").write_text(json.dumps({**lineage, "name": name}))
    started = time.monotonic()
    ((status, told), (saved, _), (thumb, _)) = ask(
        get(), post(0, {f"r1-{number:05d}-abcdef": {"state": "keep"} for number in range(1000, 2000)}),
        ("GET", "/lora_bootstrap/candidate", {"params": {"project": "zqx", "round": "1", "name": "r1-02999-abcdef",
                                                         "size": "thumb"}}))
    assert (status, saved, thumb) == (200, 200, 200) and len(told["candidates"]) == MANY
    assert time.monotonic() - started < 10


def test_a_project_is_told_with_what_the_next_run_does(project):
    ((status, told),) = ask(("GET", "/lora_bootstrap/project", {"params": {"name": "zqx"}}))
    assert status == 200 and told["trigger"] == "zqx" and told["targets"] == [3, 8, 12]
    assert [stage["state"] for stage in told["stages"][:2]] == ["done", "next"] and told["next"].startswith("Run ")
    assert len(told["crops"]) == 3 and told["rounds"] == []
    assert ask(("GET", "/lora_bootstrap/project", {"params": {"name": "none", "or": "null"}})) == [(200, None)]


def test_a_damaged_project_is_told(project):
    write_json(project.folder / "project.json", {"version": 1})
    answers = ask(get(), ("GET", "/lora_bootstrap/project", {"params": {"name": "zqx"}}))
    assert [status for status, _ in answers] == [404, 404] and "is not a project" in answers[0][1]["error"]
