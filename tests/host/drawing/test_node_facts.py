"""Files that widgets, prompts and sockets name, what nodes say about themselves, and the key of a link's value."""

import math
import os
import threading

import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.host import paths
from lora_bootstrap.host.drawing import node_facts
from lora_bootstrap.host.drawing.node_facts import FACTS, file_content, link_key, named_files
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run

from ...helpers.drawn_sweep import write_lora


@pytest.fixture
def files(host, monkeypatch):
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {"vae": ()})
    for name in ("models/loras/ink.safetensors", "models/loras/sub/glow.safetensors"):
        write_lora(host.base / name, 1, "ink")
    for name in ("models/vae/v.pt", "models/embeddings/bad.pt", "input/start.png", "output/sweeps/a.png",
                 "input/sub/x"):
        (host.base / name).parent.mkdir(parents=True, exist_ok=True)
        (host.base / name).write_bytes(name.encode())
    return host.base


@pytest.mark.parametrize(("value", "found"), [
    ("ink.safetensors", ["models/loras/ink.safetensors"]), ("v.pt", ["models/vae/v.pt"]),
    ("start.png", ["input/start.png"]), ("start.png [input]", ["input/start.png"]),
    ("sweeps/a.png [output]", ["output/sweeps/a.png"]), ("sub/x", ["input/sub/x"]),
    ("a photo, embedding:bad, night", ["models/embeddings/bad.pt"]),
    ("(embedding:bad.pt:1.2)", ["models/embeddings/bad.pt"]),
    ("girl <lora:ink:0.5> <lora:sub/glow>", ["models/loras/ink.safetensors", "models/loras/sub/glow.safetensors"]),
    ({"on": True, "lora": "ink.safetensors"}, ["models/loras/ink.safetensors"]),
    ([("ink.safetensors", 1.0, 1.0)], ["models/loras/ink.safetensors"]),
    ("1girl, smile", []), ("", []), (" ", []), (3, []), ("../../etc/passwd\0", []), ("x" * 5000, [])])
def test_a_value_names_files(files, value, found):
    assert named_files(value) == [files / name for name in found]


def test_an_absolute_path_and_a_run_name_files(files):
    assert named_files(str(files / "input" / "start.png")) == [files / "input" / "start.png"]
    run = open_run(paths.loras_root(), TrainConfig(name="girl", steps=30), key="girl")
    checkpoints = [write_lora(run.checkpoint_path(step), step, "girl") for step in (10, 20)]
    run.close()
    assert named_files([run]) == checkpoints


def test_a_file_counts_by_its_content_and_a_lora_by_its_weights(files):
    picture, lora = files / "input" / "start.png", files / "models" / "loras" / "own.safetensors"
    before = file_content(picture)
    os.utime(picture, (1, 1))
    assert file_content(picture) == before
    picture.write_bytes(b"another image")
    assert file_content(picture) != before
    contents = []
    for value, told in ((1.0, "today"), (1.0, "tomorrow"), (2.0, "today")):
        save_file({"a.lora_up.weight": torch.full((2, 2), value)}, lora, {"ss_training_started_at": told})
        os.utime(lora, (len(contents), len(contents)))
        contents.append(file_content(lora))
    assert contents[0] == contents[1] != contents[2]


def test_of_a_huge_file_blocks_size_and_time_count(files, monkeypatch):
    monkeypatch.setattr(node_facts, "WHOLE_FILE", 100)
    path = files / "input" / "huge.bin"

    def content(data, time):
        path.write_bytes(data)
        os.utime(path, (time, time))
        node_facts._sampled_content.cache_clear()
        return file_content(path)

    first = content(b"a" * 300_000, 1)
    assert content(b"a" * 300_000, 1) == first
    others = [content(b"a" * 300_000, 2), content(b"a" * 299_999, 1), content(b"b" + b"a" * 299_999, 1),
              content(b"a" * 299_999 + b"b", 1), content(b"a" * 150_000 + b"b" + b"a" * 149_999, 1)]
    assert first not in others and len(set(others)) == 5


# -- what nodes say ----------------------------------------------------------------------------------------------------


@pytest.fixture
def told(host, monkeypatch):
    """Makes a node class of the host that says something about itself."""
    def make(says, name="IS_CHANGED"):
        kind = type("Told", (), {name: classmethod(lambda cls, **inputs: says(**inputs))})
        monkeypatch.setitem(host.nodes.NODE_CLASS_MAPPINGS, "Told", kind)
        return lambda **more: FACTS.state("1", {"class_type": "Told", "inputs": {"seed": 3, "image": ["2", 0]}, **more})

    return make


@pytest.mark.parametrize("name", ["IS_CHANGED", "fingerprint_inputs"])
def test_a_node_of_either_api_is_asked_with_none_for_links(told, name):
    assert told(lambda seed, image: [seed, image], name)() == ([3, None], True)


@pytest.mark.parametrize("says", [
    lambda **_: math.nan, lambda **_: [1, [math.nan]], lambda **_: 1 / 0, lambda **_: {"a": math.nan},
    lambda **_: threading.Lock()])
def test_a_node_that_does_not_know_may_give_something_else(told, says):
    assert told(says)()[1] is False


def test_what_the_host_was_told_is_not_asked_again(told):
    assert told(lambda **_: 1 / 0)(is_changed=["a hash"]) == (["a hash"], True)


def test_a_node_that_says_nothing_is_known_by_its_inputs():
    assert FACTS.state("1", {"class_type": "EmptyLatentImage", "inputs": {"width": 8}}) == (None, True)


# -- a link's value ----------------------------------------------------------------------------------------------------


NODES = {"1": {"class_type": "EmptyLatentImage", "inputs": {"width": 8}},
         "2": {"class_type": "Told", "inputs": {"latent": ["1", 0]}}}


def key(value, nodes=NODES):
    return link_key(nodes.__getitem__, ["2", 0], value)


def test_a_value_that_can_be_read_whole_is_its_own_key_whatever_made_it(told):
    told(lambda **_: math.nan)
    other = {**NODES, "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 16}}}
    assert key("text") == key("text") == key("text", other) != key("other")


def test_a_name_in_a_value_counts_by_its_file(files):
    stack = [("ink.safetensors", 1.0, 1.0)]
    before = key(stack)
    assert key(stack) == before
    write_lora(files / "models" / "loras" / "ink.safetensors", 1, "ink", value=0.7)
    assert key(stack) != before


def test_what_cannot_be_read_is_known_by_what_made_it(told):
    told(lambda **_: "always the same")
    other = {**NODES, "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 16}}}
    lock = [threading.Lock()]
    assert key(lock) == key([threading.Lock()]) != key(lock, other)


def test_what_cannot_be_read_and_does_not_say_what_it_is_is_new_each_time(told):
    told(lambda **_: math.nan)
    lock = [threading.Lock()]
    assert key(lock) != key(lock)
