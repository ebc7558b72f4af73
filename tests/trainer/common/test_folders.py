"""Folders that are replaced as a whole: nothing of a person's is lost, and no half-filled folder counts as made."""

import errno
import os
import shutil
from contextlib import suppress

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import atomic_write, read_json, write_json
from lora_bootstrap.trainer.common.folders import RECORD, empty_folder, fill_folder, finish_swap, is_filled

from ...helpers.faults import fault_at, fault_points

MINE = {"notes.txt": b"by hand", "sub/photo.png": b"mine"}


def fill(folder, key, files):
    with fill_folder(folder, key) as new:
        for name, data in files.items():
            atomic_write(new / name, data)


def put(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read(folder):
    """All files by name, without the record."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != RECORD}


def test_a_folder_left_half_filled_does_not_count_as_made(tmp_path):
    with pytest.raises(RuntimeError), fill_folder(tmp_path / "f", "key") as folder:
        (folder / "a").write_text("half")
        raise RuntimeError
    assert not is_filled(tmp_path / "f", "key") and os.listdir(tmp_path) == []
    with fill_folder(tmp_path / "f", "key") as folder:
        assert list(folder.iterdir()) == []
    assert is_filled(tmp_path / "f", "key") and not is_filled(tmp_path / "f", "other")


def test_a_new_filling_replaces_the_old_one_and_leaves_nothing_of_it(tmp_path):
    fill(tmp_path / "f", "1", {"a": b"1", "deep/b": b"1"})
    fill(tmp_path / "f", "2", {"a": b"2", "c": b"2"})
    assert read(tmp_path) == {"f/a": b"2", "f/c": b"2"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["f"]


def test_files_that_were_not_filled_in_stay_where_they_are(tmp_path):
    put(tmp_path / "f", MINE)
    for key in ("1", "2"):
        fill(tmp_path / "f", key, {"a": key.encode()})
        assert read(tmp_path / "f") == {"a": key.encode(), **MINE}


def test_files_in_the_way_and_files_changed_by_hand_are_kept_beside_the_folder(tmp_path):
    put(tmp_path / "f", {"a": b"mine"})
    fill(tmp_path / "f", "1", {"a": b"1", "b": b"1"})
    (tmp_path / "f" / "b").write_bytes(b"edited")
    (tmp_path / "f" / "a").write_bytes(b"edited")
    fill(tmp_path / "f", "2", {"a": b"2"})
    assert read(tmp_path) == {"f/a": b"2", "kept/f/a": b"mine", "kept/f/a-2": b"edited", "kept/f/b": b"edited"}


def test_a_folder_whose_record_does_not_name_its_files_loses_none(tmp_path):
    put(tmp_path / "f", {"a": b"old", "b": b"old"})
    write_json(tmp_path / "f" / RECORD, {"key": "1"})
    assert is_filled(tmp_path / "f", "1")
    fill(tmp_path / "f", "2", {"a": b"2"})
    assert read(tmp_path) == {"f/a": b"2", "kept/f/a": b"old", "kept/f/b": b"old"}


def test_emptying_a_folder_keeps_what_is_not_its_own(tmp_path):
    fill(tmp_path / "f", "1", {"a": b"1"})
    put(tmp_path / "f", MINE)
    empty_folder(tmp_path / "f")
    empty_folder(tmp_path / "f")
    assert read(tmp_path) == {f"kept/f/{name}": data for name, data in MINE.items()}


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    (tmp_path / "disk" / "far").mkdir(parents=True)
    (tmp_path / "f").symlink_to(tmp_path / "disk" / "far")
    fill(tmp_path / "f", "1", {"a": b"1"})
    assert (tmp_path / "f").is_symlink() and read(tmp_path / "disk" / "far") == {"a": b"1"}


OLD, NEW = {"a": b"1", "b": b"1", "deep/c": b"1"}, {"a": b"2", "d": b"2"}


def test_wherever_a_filling_is_killed_or_the_disk_is_full_the_old_or_the_new_folder_is_whole(tmp_path):
    root = tmp_path / "p"

    def prepare():
        shutil.rmtree(root, ignore_errors=True)
        fill(root / "f", "1", OLD)
        put(root / "f", MINE)

    points = fault_points(root, lambda: fill(root / "f", "2", NEW), prepare)
    assert len(points) > 40
    for at, error in points:
        prepare()
        with suppress(UserError), fault_at(root, at, error):
            fill(root / "f", "2", NEW)
        assert set(MINE.values()) <= set(read(root).values()), f"lost at {at}"
        finish_swap(root / "f")
        key = read_json(root / "f" / RECORD)["key"]
        assert read(root / "f") == {**(OLD if key == "1" else NEW), **MINE}, f"mixed at {at}"
        fill(root / "f", "3", NEW)
        assert read(root) == {f"f/{name}": data for name, data in {**NEW, **MINE}.items()}, f"left over at {at}"


def test_a_full_disk_is_reported_in_one_line_that_names_the_folder(tmp_path):
    fill(tmp_path / "f", "1", OLD)
    full = pytest.raises(UserError, match=r"the disk is full: .*/f was not written")
    with full as caught, fault_at(tmp_path, 2, errno.ENOSPC):
        fill(tmp_path / "f", "2", NEW)
    assert "\n" not in str(caught.value) and read(tmp_path) == {f"f/{name}": data for name, data in OLD.items()}


def test_links_of_a_persons_own_stay_and_stop_no_later_filling(tmp_path):
    fill(tmp_path / "f", "1", {"a": b"1"})
    put(tmp_path / "f", {"m.png": b"mine"})
    (tmp_path / "f" / "z.png").symlink_to("m.png")
    for key in ("2", "3", "4"):
        fill(tmp_path / "f", key, {"a": key.encode()})
    assert read(tmp_path) == {"f/a": b"4", "f/m.png": b"mine", "f/z.png": b"mine"}
    assert os.readlink(tmp_path / "f" / "z.png") == "m.png" and os.listdir(tmp_path) == ["f"]


def test_a_rest_of_an_old_folder_that_cannot_be_removed_stops_no_later_filling(tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "held open", str(path))

    fill(tmp_path / "f", "1", {"a": b"1"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse)
        fill(tmp_path / "f", "2", {"a": b"2"})
        fill(tmp_path / "f", "3", {"a": b"3"})
    assert (tmp_path / "f" / "a").read_bytes() == b"3"
    fill(tmp_path / "f", "4", {"a": b"4"})
    assert read(tmp_path) == {"f/a": b"4"} and os.listdir(tmp_path) == ["f"]
