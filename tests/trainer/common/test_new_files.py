"""New files: two writers of one name get two files, and none of them is ever half written or overwritten."""

import errno
import os
from contextlib import suppress

import pytest

from lora_bootstrap.trainer.common import new_files
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.new_files import write_new

from ...helpers.faults import fault_at, fault_points


def test_a_taken_name_gets_a_number_even_if_it_is_taken_during_the_work(tmp_path):
    path = tmp_path / "new" / "a.png"

    def slow(temp):
        assert write_new(path, lambda other: other.write_bytes(b"quick")) == path
        temp.write_bytes(b"slow")

    assert write_new(path, slow) == tmp_path / "new" / "a-2.png"
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {"a.png": b"quick", "a-2.png": b"slow"}


def test_a_file_that_is_the_same_is_used(tmp_path):
    (tmp_path / "a.png").write_bytes(b"other")
    (tmp_path / "a-2.png").write_bytes(b"mine")
    found = write_new(tmp_path / "a.png", lambda temp: temp.write_bytes(b"mine"),
                      lambda path: path.read_bytes() == b"mine")
    assert found.name == "a-2.png" and len(os.listdir(tmp_path)) == 2


def refuse_links(*_, **__):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_without_links_nothing_is_overwritten_either(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(new_files.os, "link", refuse_links)
    names = [write_new(tmp_path / "a.png", lambda temp, row=row: temp.write_bytes(bytes([row]))).name
             for row in range(3)]
    assert names == ["a.png", "a-2.png", "a-3.png"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"\0", b"\1", b"\2"]
    assert len(os.listdir(tmp_path)) == 3


def test_a_kill_or_a_full_disk_leaves_the_whole_file_or_none(tmp_path):
    folder = tmp_path / "f"

    def prepare():
        for path in folder.glob("*") if folder.is_dir() else ():
            path.unlink()

    def work():
        write_new(folder / "a.png", lambda temp: temp.write_bytes(b"whole"))

    for at, error in fault_points(folder, work, prepare):
        prepare()
        with suppress(UserError), fault_at(folder, at, error):
            work()
        assert [path.read_bytes() for path in folder.glob("[!.]*")] in ([], [b"whole"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_write_one_name_at_once_get_a_file_each(tmp_path):
    children = []
    for row in range(8):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                for _ in range(5):
                    write_new(tmp_path / "a.png", lambda temp, row=row: temp.write_bytes(bytes([row])))
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(path.read_bytes()[0] for path in tmp_path.iterdir()) == sorted([*range(8)] * 5)
