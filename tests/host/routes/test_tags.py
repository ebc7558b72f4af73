"""The tag editor's routes: what it is shown, what it saves, and what is refused."""

import io
import json
import threading

import pytest
from PIL import Image

from lora_bootstrap.host import editors, paths
from lora_bootstrap.host.editors import use_edits
from lora_bootstrap.host.routes.views.tag_view import dataset_view
from lora_bootstrap.host.session import current_session
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.revisions import StaleRevision
from lora_bootstrap.trainer.datasets.dataset import Dataset, load_folder, save_samples
from lora_bootstrap.trainer.tagging.hand_edits import HandEdit, HandEdits

from ...helpers.asking import ask, sent_as_json


@pytest.fixture
def dataset(host):
    save_samples(host.input / "girl", [(Image.new("RGB", (600, 300), "red"), "akane, smile", {"name": "a"}),
                                       (Image.new("RGB", (30, 20), "blue"), "akane", {"name": "b"})])
    return load_folder(host.input / "girl")


@pytest.fixture
def shown(dataset):
    return show(dataset, paths.edits_file("mine"))


def show(dataset, path):
    return current_session().editors.show(dataset, path)


def get(id):
    return ("GET", "/lora_bootstrap/dataset", {"params": {"id": id}})


def post(id, revision, **captions):
    return ("POST", "/lora_bootstrap/dataset/captions", {"json": {
        "id": id, "revision": revision,
        "changes": [{"picture": picture, "caption": caption} for picture, caption in captions.items()]}})


def test_the_dataset_is_told_with_its_pictures_in_order(shown, dataset):
    ((status, told),) = ask(get(shown.id))
    assert status == 200 and told.keys() == {"id", "name", "editable", "pictures", "revision"}
    assert (told["id"], told["name"], told["editable"], told["revision"]) == (shown.id, "girl", True, 0)
    first = told["pictures"][0]
    assert first == {"id": dataset.samples[0].content_hash, "name": "a.png", "caption": "akane, smile",
                     "tags": ["akane", "smile"], "width": 600, "height": 300, "thumb": first["thumb"],
                     "place": "girl/a.png"}
    assert [picture["name"] for picture in told["pictures"]] == ["a.png", "b.png"]


def test_the_same_picture_twice_is_told_once(dataset):
    twice = show(dataset.concat(dataset), paths.edits_file("twice"))
    assert len(dataset_view(twice)["pictures"]) == 2


def test_a_thumbnail_is_a_small_jpeg(shown):
    ((_, told),) = ask(get(shown.id))
    answers = ask(*[("GET", picture["thumb"], {}) for picture in told["pictures"]])
    images = [Image.open(io.BytesIO(data)) for _, data in answers]
    assert [(image.format, image.size) for image in images] == [("JPEG", (256, 128)), ("JPEG", (30, 20))]
    red, green, blue = images[0].getpixel((50, 50))
    assert red > 240 and green < 20 and blue < 20


def test_captions_are_saved_and_told_again(shown, dataset):
    a, b = (sample.content_hash for sample in dataset)
    saved, again, told = ask(post(shown.id, 0, **{a: "akane,\n frown"}), post(shown.id, 1, **{b: "akane, hat"}),
                             get(shown.id))
    assert saved == (200, {"revision": 1}) and again == (200, {"revision": 2}) and told[1]["revision"] == 2
    assert [picture["caption"] for picture in told[1]["pictures"]] == ["akane, frown", "akane, hat"]
    assert [picture["tags"] for picture in told[1]["pictures"]] == [["akane", "frown"], ["akane", "hat"]]
    assert dataset.samples[0].path.with_suffix(".txt").read_text() == "akane, smile\n", "the files stay"


def test_who_saves_on_an_older_state_gets_the_newer_one_and_saves_nothing(shown, dataset):
    a, b = (sample.content_hash for sample in dataset)
    _, (status, told), after = ask(post(shown.id, 0, **{a: "first"}), post(shown.id, 0, **{a: "second", b: "x"}),
                                   get(shown.id))
    assert status == 409 and "somebody else" in told.pop("error") and told == after[1]
    assert [picture["caption"] for picture in told["pictures"]] == ["first", "akane"] and told["revision"] == 1


def test_of_many_who_save_at_once_one_wins(shown, dataset):
    picture, outcomes = dataset.samples[0].content_hash, []

    def save(number):
        try:
            outcomes.append(current_session().editors.change(shown.id, 0, {picture: f"tag {number}"}).revision)
        except StaleRevision:
            outcomes.append("conflict")

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["1"] + ["conflict"] * 7


@pytest.mark.parametrize("body", [None, [], {}, {"id": "x", "revision": 0}, {"id": 1, "revision": 0, "changes": []},
                                  {"id": "x", "revision": True, "changes": []},
                                  {"id": "x", "revision": 0, "changes": [{"picture": "p"}]},
                                  {"id": "x", "revision": 0, "changes": ["p"]}])
def test_a_body_that_is_no_change_is_refused(shown, body):
    ((status, told),) = ask(("POST", "/lora_bootstrap/dataset/captions", sent_as_json(json.dumps(body))))
    assert status == 400 and told["error"].startswith("the body must be")


def test_what_there_is_none_of_is_refused(shown):
    answers = ask(get("nobody"), get("../mine"), post("nobody", 0), post(shown.id, 0, nopicture="x"),
                  ("GET", "/lora_bootstrap/thumb", {"params": {"id": shown.id, "picture": "x"}}),
                  ("GET", "/lora_bootstrap/thumb", {}),
                  ("POST", "/lora_bootstrap/dataset/captions", sent_as_json("{")))
    assert [status for status, _ in answers] == [404] * 6 + [400]
    assert answers[0][1]["error"] == "there is no dataset 'nobody' to edit; run the workflow, so that its node has one."
    assert "has no image 'nopicture'" in answers[3][1]["error"]


def test_a_picture_that_is_gone_is_refused_in_one_line(shown, dataset):
    ((_, told),) = ask(get(shown.id))
    dataset.samples[1].path.unlink()
    assert [status for status, _ in ask(("GET", told["pictures"][1]["thumb"], {}))] == [404]


def test_two_nodes_of_one_name_with_pictures_of_two_folders_are_told_apart(dataset, host):
    save_samples(host.input / "boy", [(Image.new("RGB", (8, 8)), "x", {"name": "a"})])
    path = paths.edits_file("ours")
    girl, boy = show(dataset, path), show(load_folder(host.input / "boy"), path)
    assert girl.id != boy.id and girl.path == boy.path
    assert [current_session().editors.find(edited.id).name for edited in (girl, boy)] == ["girl", "boy"]


def test_the_last_of_many_datasets_are_remembered(dataset, monkeypatch):
    monkeypatch.setattr(editors, "REMEMBERED", 3)
    ids = [show(dataset, paths.edits_file(f"n{number}")).id for number in range(5)]
    assert current_session().editors.find(ids[-1]) and current_session().editors.find(ids[2])
    with pytest.raises(UserError, match="run the workflow"):
        current_session().editors.find(ids[1])


def test_an_empty_dataset_can_be_shown(host):
    empty = show(Dataset(()), paths.edits_file("none"))
    assert dataset_view(empty)["pictures"] == []


# -- names -------------------------------------------------------------------------------------------------------------

NAME, OTHER = "tags-0123456789", "tags-abcdef0123"


def keep(name, **changes):
    """Save changes by hand under a name, as an older version did under a node's number."""
    HandEdits(len(changes), {picture: HandEdit(*both) for picture, both in changes.items()}).save(
        paths.edits_file(name))


def used(name, node_id, dataset):
    edits = use_edits(name, node_id, dataset)
    return sorted(edit.after for edit in edits.edits.edits.values()), edits.note


def test_a_dataset_without_a_name_for_changes_is_shown_and_not_changed(dataset):
    bare, other = show(dataset, None), show(dataset.with_captions(lambda text: f"{text}, x"), None)
    assert bare.id != other.id, "two nodes on one folder are told apart by their captions"
    (status, told), refused = ask(get(bare.id), post(bare.id, 0, **{dataset.samples[0].content_hash: "mine"}))
    assert status == 200 and told["editable"] is False
    assert refused[0] == 404 and "enter one in edits" in refused[1]["error"]


def test_no_name_takes_what_is_kept_under_a_number_only_for_the_same_captions_and_says_so(dataset):
    picture = dataset.samples[0].content_hash
    keep("node-6", **{picture: ("akane, smile", "akane, frown"), "gone": ("a", "b")})
    changes, note = used("", "6", dataset)
    assert changes == ["akane, frown"] and "kept as 'node-6'" in note and "Enter 'node-6' in edits" in note
    assert used("", "6", dataset) == (changes, note), "they stay where they are"
    other_rules = dataset.with_captions(lambda text: f"another_workflow, {text}")
    assert used("", "6", other_rules) == used("", "12:6", dataset) == ([], "")


def test_a_node_takes_over_once_what_an_older_version_kept_under_its_number(dataset):
    picture = dataset.samples[0].content_hash
    keep("node-12-6", **{picture: ("smile", "frown"), "of another workflow": ("a", "b")})
    changes, note = used(f"{NAME}-from-node-12-6", "77", dataset)
    assert changes == ["frown"] and note == (
        f"Took over 1 changes by hand that an older version kept as 'node-12-6'; they are now saved as "
        f"'{NAME}-from-node-12-6'.")
    assert used(f"{NAME}-from-node-12-6", "77", dataset) == (["frown"], "")
    changes, note = used(f"{OTHER}-from-node-12-6", "6", dataset)
    assert changes == [] and f"Enter '{NAME}-from-node-12-6' in edits to share them" in note
    older = HandEdits.load(paths.edits_file("node-12-6"))
    assert set(older.edits) == {picture, "of another workflow"} and set(older.taken) == {picture}, "nothing is lost"
    assert used("", "12:6", dataset) == ([], ""), "no longer used by a number"


def test_a_new_node_never_takes_what_is_kept_under_its_number(dataset):
    keep("node-6", **{dataset.samples[0].content_hash: ("akane, smile", "akane, frown")})
    assert used(NAME, "6", dataset) == used("mine", "6", dataset) == ([], "")
    assert used("node-6", "9", dataset) == (["akane, frown"], ""), "except by a name that somebody typed"


def copy(**body):
    return ("POST", "/lora_bootstrap/dataset/copy", {"json": body})


def test_a_copy_of_a_node_takes_the_changes_along_and_its_changes_stay_its_own(dataset):
    original = show(dataset, paths.edits_file(NAME))
    a, b = (sample.content_hash for sample in dataset)
    twin = original.id.replace(NAME, OTHER)
    _, copied, again, _, (_, of_copy), (_, of_original) = ask(
        post(original.id, 0, **{a: "by hand"}), copy(**{"from": NAME, "to": OTHER}),
        copy(**{"from": NAME, "to": OTHER}), post(twin, 1, **{b: "in the copy"}), get(twin), get(original.id))
    assert copied == again == (200, {"edits": 1})
    assert [row["caption"] for row in of_copy["pictures"]] == ["by hand", "in the copy"]
    assert [row["caption"] for row in of_original["pictures"]] == ["by hand", "akane"]


@pytest.mark.parametrize("body", [{}, {"from": NAME}, {"from": 1, "to": OTHER}, {"from": NAME, "to": "mine"},
                                  {"from": "../x", "to": OTHER}, {"from": NAME, "to": f"../{OTHER}"}])
def test_a_copy_under_any_other_name_is_refused(host, body):
    ((status, told),) = ask(copy(**body))
    assert status == 400 and "\n" not in told["error"]


def test_of_a_node_that_was_never_changed_there_is_nothing_to_copy(host):
    assert ask(copy(**{"from": NAME, "to": OTHER})) == [(200, {"edits": 0})]
    assert not paths.edits_file(OTHER).exists()
