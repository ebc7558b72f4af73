"""Saving what two may change at once: the later of two on one state is refused, and nothing of the other's is lost."""

import json
import multiprocessing
import os
import threading
from dataclasses import dataclass

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.leftovers import temporary_path
from lora_bootstrap.trainer.common.revisions import Revisioned, StaleRevision, save_change


@dataclass(frozen=True)
class Names(Revisioned):
    names: tuple = ()

    def to_dict(self):
        return {"revision": self.revision, "names": list(self.names)}

    @classmethod
    def from_dict(cls, values):
        return cls(int(values["revision"]), tuple(values["names"]))


def add(name):
    return lambda saved: saved.next_revision(names=(*saved.names, name))


def test_each_saving_is_one_revision_on_and_is_read_again(tmp_path):
    path = tmp_path / "deep" / "names.json"
    assert Names.load(path) == Names(0, ())
    assert save_change(path, Names, add("a"), 0) == Names(1, ("a",))
    assert save_change(path, Names, add("b"), 1) == Names.load(path) == Names(2, ("a", "b"))


def test_who_saves_on_an_older_state_is_refused_and_nothing_is_saved(tmp_path):
    path = tmp_path / "names.json"
    save_change(path, Names, add("a"), 0)
    with pytest.raises(StaleRevision):
        save_change(path, Names, add("b"), 0)
    assert Names.load(path) == Names(1, ("a",))


def test_who_asks_for_no_revision_saves_on_the_latest(tmp_path):
    path = tmp_path / "names.json"
    threads = [threading.Thread(target=save_change, args=(path, Names, add(str(number)))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Names.load(path).revision == 8 and sorted(Names.load(path).names) == list("01234567")


def test_a_change_that_fails_saves_nothing_and_lets_the_next_one_save(tmp_path):
    path = tmp_path / "names.json"
    with pytest.raises(UserError, match="no such name"):
        save_change(path, Names, lambda saved: (_ for _ in ()).throw(UserError("no such name")))
    assert not path.exists() and save_change(path, Names, add("a")).revision == 1


@pytest.mark.parametrize("values", [[], {}, {"revision": "x", "names": []}, {"revision": 1, "names": 5}, None])
def test_a_file_that_holds_something_else_is_named(tmp_path, values):
    (tmp_path / "names.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"names\.json cannot be read \(.+\); repair or delete it"):
        save_change(tmp_path / "names.json", Names, add("a"))


def mark(path, who, revision_too):
    for number in range(100):
        while True:
            try:
                revision = Names.load(path).revision if revision_too else None
                save_change(path, Names, add(f"{who}-{number}"), revision)
                break
            except StaleRevision:
                continue


@pytest.mark.parametrize("revision_too", [False, True])
def test_of_two_processes_that_save_a_hundred_times_each_two_hundred_are_there(tmp_path, revision_too):
    path = tmp_path / "names.json"
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=mark, args=(path, who, revision_too)) for who in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert len(set(Names.load(path).names)) == 200 and Names.load(path).revision == 200
    assert os.listdir(tmp_path) == ["names.json"]


def test_what_a_killed_process_left_beside_it_is_removed_with_the_next_change(tmp_path):
    dead = temporary_path(tmp_path / "names.json").name.replace(f"-{os.getpid()}-", "-999999999-")
    (tmp_path / dead).write_text("half")
    save_change(tmp_path / "names.json", Names, add("a"))
    assert os.listdir(tmp_path) == ["names.json"]
