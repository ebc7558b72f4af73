"""The routes of folders of images: what is shown before a run, and what a browser may put there."""

import io
import os

import folder_paths
import pytest
from PIL import Image

from lora_bootstrap.host import paths
from lora_bootstrap.host.folders.uploads import MARK
from lora_bootstrap.host.routes import folders  # noqa: F401 (registers itself)
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.datasets.listing import list_folder

from ...helpers.asking import ask

LINKS = pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")


def picture(colour="red", kind="PNG"):
    data = io.BytesIO()
    Image.new("RGB", (40, 20), colour).save(data, kind)
    return data.getvalue()


def save(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture() if name.endswith(".png") else b"a girl")


def look(name, **query):
    ((status, told),) = ask(("GET", "/lora_bootstrap/folder", {"params": {"name": name, **query}}))
    return status, told


def sending(file, data, folder="", wanted="mine", kind="application/octet-stream"):
    return ("POST", "/lora_bootstrap/folder/file", {
        "params": {"file": file, "folder": folder, "wanted": wanted}, "data": data, "headers": {"Content-Type": kind}})


def send(file, data, folder="", **more):
    ((status, told),) = ask(sending(file, data, folder, **more))
    return status, told


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_a_folder_is_counted_as_load_dataset_reads_it(host):
    save(host.input / "girl", "a.png", "a.txt", "b.png", "B.TXT", "c.png", "10_more/d.png", "masks/a.png", "reg/e.png",
         ".hidden.png", "f.gif")
    status, told = look("girl")
    assert status == 200 and (told["images"], told["captions"], told["own"]) == (4, 2, False)
    dataset = load_folder(host.input / "girl")
    assert [path for path in list_folder(host.input / "girl").pictures] == [sample.path for sample in dataset]
    assert "f.gif: .gif is not supported; save it as png." in "".join(told["notes"])
    assert look("girl", recursive="0")[1]["images"] == 3


def test_the_first_the_middle_and_the_last_image_are_shown_small(host):
    save(host.input / "girl", *(f"{number}.png" for number in range(5)))
    _, told = look("girl")
    assert [row["file"] for row in told["pictures"]] == ["0.png", "2.png", "4.png"]
    assert told["pictures"][1]["place"] == "girl/2.png"
    ((status, data),) = ask(("GET", told["pictures"][1]["thumb"], {}))
    assert status == 200 and Image.open(io.BytesIO(data)).format == "JPEG"
    (host.input / "girl" / "2.png").write_text("no image")
    assert ask(("GET", told["pictures"][1]["thumb"], {}))[0][0] == 204


def test_a_folder_that_is_not_there_is_told_in_the_nodes_own_words(host):
    save(host.input / "girls", "a.png")
    status, told = look("girl")
    assert status == 200 and "no folder 'girl' in input/ or output/. In input/ there are: girls" in told["problem"]
    assert look("../secret")[1].keys() == look("")[1].keys() == {"name", "problem"}


def test_folders_that_hold_images_are_offered_under_the_name_that_finds_them(host, monkeypatch):
    own = host.base / "datasets"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "datasets", ([str(own)], set()))
    for folder in (host.input / "girl", host.input / "girl" / "10_more", host.input / "output", own / "theirs",
                   own / "hidden", host.output / "datasets" / "hidden", host.output / "sweeps" / "s1" / "cells",
                   host.input / "girl" / "masks"):
        save(folder, "a.png", "b.png")
    (host.input / "empty").mkdir()
    ((_, told),) = ask(("GET", "/lora_bootstrap/folders", {}))
    found = {row["name"]: row["images"] for row in told["folders"] if not row["name"].startswith("sandbox")}
    assert found == {"girl": 2, "girl/10_more": 2, "input/output": 2, "datasets/theirs": 2,
                     "output/datasets/hidden": 2}
    assert paths.dataset_folder("datasets/theirs") == own / "theirs"
    assert paths.dataset_folder("datasets/hidden") == host.output / "datasets" / "hidden", "as before"
    assert {row["name"] for row in told["folders"]} >= {"sandbox/dataset/akane", "sandbox/dataset/storybook"}


@pytest.mark.parametrize("text", ["datasets/../secret", "datasets", "datasets/nobody"])
def test_no_name_leads_out_of_the_hosts_own_folders_of_datasets(host, monkeypatch, text):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "datasets", ([str(host.base / "datasets")], set()))
    save(host.base / "secret", "a.png")
    save(host.base / "datasets" / "girl", "a.png")
    with pytest.raises(UserError):
        paths.dataset_folder(text)


@LINKS
def test_what_a_link_leads_to_outside_is_neither_offered_nor_shown(host):
    save(host.base / "secret", "s.png")
    save(host.input / "girl", "a.png")
    (host.input / "out").symlink_to(host.base / "secret")
    (host.input / "girl" / "z.png").symlink_to(host.base / "secret" / "s.png")
    ((_, told),) = ask(("GET", "/lora_bootstrap/folders", {}))
    assert [row["name"] for row in told["folders"] if not row["name"].startswith("sandbox")] == ["girl"]
    assert "problem" in look("out")[1] and [row["file"] for row in look("girl")[1]["pictures"]] == ["a.png"]
    for file in ("z.png", "../../secret/s.png", "b.png", "a.txt", ""):
        ((status, _),) = ask(("GET", "/lora_bootstrap/folder/thumb", {"params": {"name": "girl", "file": file}}))
        assert status == 404, file


def test_files_are_counted_without_opening_one(host):
    (host.input / "girl").mkdir()
    for name in ("a.png", "a.txt", "b.png"):
        (host.input / "girl" / name).touch()
    listing = list_folder(host.input / "girl")
    assert (len(listing.pictures), listing.captioned) == (2, 1), "empty files, which no image is"


# -- what a browser sends ----------------------------------------------------------------------------------------------


def test_images_and_captions_are_put_into_a_new_folder_that_more_can_be_added_to(host):
    status, first = send("a.png", picture())
    assert status == 200 and first == {"folder": "mine", "name": "a.png", "known": False}
    assert [told for _, told in ask(sending("a.TXT", "1girl, 猫".encode(), "mine"),
                                    sending("10_more/b.JPG", picture("blue", "JPEG"), "mine"))] == [
        {"folder": "mine", "name": name, "known": False} for name in ("a.txt", "10_more/b.jpg")]
    dataset = load_folder(host.input / "mine")
    assert [(sample.path.name, sample.caption) for sample in dataset] == [("b.jpg", "more"), ("a.png", "1girl, 猫")]
    assert look("mine")[1]["own"] is True


def test_nothing_is_overwritten_and_what_is_there_already_is_not_doubled(host):
    save(host.input / "mine", "a.png")
    before = (host.input / "mine" / "a.png").stat().st_mtime_ns
    names = [told["name"] for _, told in ask(
        sending("a.png", picture()), *(sending(name, picture(colour), "mine-2") for name, colour in (
            ("a.png", "blue"), ("a.png", "blue"), ("A.png", "green"), ("a.webp", "black"))))]
    assert names == ["a.png", "a (2).png", "a (2).png", "A (3).png", "a (4).webp"]
    assert len(load_folder(host.input / "mine-2")) == 4
    assert (host.input / "mine" / "a.png").stat().st_mtime_ns == before


def test_a_caption_with_another_text_is_refused_and_named(host):
    send("a.png", picture())
    assert send("a.txt", b"one", "mine")[0] == 200
    assert send("a.txt", b"one", "mine")[1]["known"] is True
    status, told = send("a.txt", b"two", "mine")
    assert status == 400 and "a.txt is there already with another text" in told["error"]
    assert (host.input / "mine" / "a.txt").read_bytes() == b"one"


def test_files_are_added_only_to_folders_that_were_made_so(host):
    save(host.input / "girl", "a.png")
    save_samples(host.output / "made", [(Image.new("RGB", (8, 8)), "x", {"name": "a"})])
    for folder in ("girl", "output/made", "sandbox/dataset/akane", "../secret", "nobody"):
        status, told = send("b.png", picture(), folder)
        assert status == 400 and "error" in told, folder
    assert sorted(os.listdir(host.input)) == ["girl"] and os.listdir(host.input / "girl") == ["a.png"]


@pytest.mark.parametrize(("file", "data", "words"), [
    ("a.png", b"no image", "a.png is not an image that can be read"), ("a.png", b"", "a.png is not an image"),
    ("a.gif", b"GIF89a", "neither an image"), ("run.py", b"import os", "neither an image"),
    ("", picture(), "neither an image"), ("a.txt", b"x" * (2**20 - 1) + b"yz", "larger than")])
def test_what_is_no_image_and_no_caption_is_refused_by_name_and_leaves_nothing(host, file, data, words):
    status, told = send(file, data)
    assert status in (400, 413) and words in told["error"] and str(host.base) not in told["error"]
    assert os.listdir(host.input) == []


def test_a_file_larger_than_the_host_takes_is_refused_by_name(host):
    status, told = send("big.png", picture() + b"\0" * 2**20)
    assert status == 413 and told["error"].startswith("big.png is larger than 1 MB; ")
    assert os.listdir(host.input) == []


@pytest.mark.parametrize("file", ["../../out.png", "/etc/out.png", "..\\..\\out.png", "a/../../out.png", "CON.png",
                                  "a\0b.png", "x" * 300 + ".png", ".hidden.png", "C:out.png", "a/b/c/d/e/f.png"])
def test_a_hostile_name_becomes_a_plain_one_inside_the_folder(host, file):
    status, told = send(file, picture())
    assert status == 200
    home = host.input / "mine"
    assert [path for path in host.base.rglob("*.png")] == [home / told["name"]]
    assert (home / told["name"]).resolve().is_relative_to(home) and not (home / told["name"]).name.startswith(".")


@pytest.mark.parametrize("wanted", ["input", "output", "sandbox", "datasets", "../x", "", ".", "NUL", "a" * 400])
def test_a_new_folder_never_has_a_name_that_means_another_one(host, wanted):
    status, told = send("a.png", picture(), wanted=wanted)
    assert status == 200 and (host.input / told["folder"] / MARK).is_file()
    assert paths.dataset_folder(told["folder"]) == host.input / told["folder"]


@LINKS
def test_nothing_is_written_through_a_link(host):
    send("a.png", picture())
    (host.base / "secret").mkdir()
    (host.input / "mine" / "out").symlink_to(host.base / "secret")
    assert send("out/b.png", picture(), "mine")[0] == 400
    (host.base / "secret" / MARK).touch()
    (host.input / "linked").symlink_to(host.base / "secret")
    assert send("b.png", picture(), "linked")[0] == 400
    assert os.listdir(host.base / "secret") == [MARK]


@LINKS
def test_no_folder_is_made_through_a_link(host):
    folder = send("a.png", picture())[1]["folder"]
    (host.base / "outside").mkdir()
    (host.input / folder / "led").symlink_to(host.base / "outside")
    assert send("led/away/b.png", picture(), folder)[0] == 400
    assert list((host.base / "outside").iterdir()) == []


@LINKS
def test_a_link_to_a_file_that_is_gone_is_another_file(host):
    folder = send("a.png", picture())[1]["folder"]
    for name in ("b.png", "b.txt"):
        (host.input / folder / name).symlink_to(host.base / "gone")
    assert send("b.png", picture(), folder)[1]["name"] == "b (2).png"
    status, told = send("b.txt", b"a girl", folder)
    assert status == 400 and "b.txt is there already" in told["error"]


@pytest.mark.parametrize("length", [244, 248, 250, 255, 400])
def test_a_caption_keeps_the_stem_of_its_image_however_long_the_name_is(host, length):
    sent = [send("x" * length + ending, data)[1]["name"]
            for ending, data in ((".png", picture()), (".caption", b"a girl"), (".txt", b"a girl"))]
    assert len({os.path.splitext(name)[0] for name in sent}) == 1, sent


def test_only_a_file_is_taken_which_a_page_of_another_origin_may_not_send_unasked(host):
    for kind in ("text/plain", "multipart/form-data", "application/json", "image/png"):
        assert send("a.png", picture(), kind=kind)[0] == 415
    assert os.listdir(host.input) == []
