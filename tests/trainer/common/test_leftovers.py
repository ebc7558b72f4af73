"""Temporary files: they say who writes them, and go once nobody does."""

import multiprocessing
import os
import time

import pytest

from lora_bootstrap.trainer.common import leftovers
from lora_bootstrap.trainer.common.files import atomic_path
from lora_bootstrap.trainer.common.leftovers import DAY, remove_leftovers, temporary_path


def die_while_writing(folder):
    with atomic_path(folder / "grid.png") as temp:
        temp.write_bytes(b"half")
        temporary_path(folder / "run").mkdir()
        os._exit(1)


def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    folder = tmp_path / "sweep" / "cells"
    process = multiprocessing.get_context("spawn").Process(target=die_while_writing, args=(folder,))
    process.start()
    process.join()
    assert len(os.listdir(folder)) == 2
    (folder / "a.png").write_bytes(b"whole")
    with atomic_path(folder / "b.png") as temp:
        remove_leftovers(tmp_path, depth=2)
        temp.write_bytes(b"whole")
    assert sorted(os.listdir(folder)) == ["a.png", "b.png"]


@pytest.mark.parametrize("name", [".grid.png.0123abcd-99999999-0000.0123abcd.tmp", ".run.json.0123abcd.tmp"])
def test_what_comes_from_elsewhere_goes_after_a_day(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert path.exists()
    os.utime(path, (time.time() - DAY - 60,) * 2)
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_a_process_that_has_the_number_of_a_dead_one_does_not_keep_its_files(tmp_path, monkeypatch):
    path = temporary_path(tmp_path / "run.json")
    path.write_bytes(b"half")
    monkeypatch.setattr(leftovers, "_START", "0000" if leftovers._START != "0000" else "0001")
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_files_of_other_names_and_linked_folders_are_left_alone(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    old = [tmp_path / "in" / name for name in (".hidden", "a.tmp", ".a.tmp", ".tmpAbCdEf", "a.0123abcd.tmp")]
    (tmp_path / "in").mkdir()
    (outside / ".a.0123abcd.tmp").write_bytes(b"theirs")
    (tmp_path / "in" / "linked").symlink_to(outside)
    for path in (*old, outside / ".a.0123abcd.tmp"):
        path.write_bytes(b"theirs")
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path / "in", depth=3)
    assert all(path.exists() for path in (*old, outside / ".a.0123abcd.tmp"))
    remove_leftovers(tmp_path / "nowhere")
