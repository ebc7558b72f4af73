"""Strengths that were measured: kept by base and by the files' hashes, told for a stack, and safe from damage."""

import json

import pytest

from lora_bootstrap.trainer.stacks.known_strengths import FILE, KnownLora, MeasuredPair, recall, remember

SCORES = {"harmonic": 0.84, "identity": 0.9, "style": 0.8, "prompt": None}


@pytest.fixture
def files(tmp_path):
    """Three LoRA files: girl, ink and glow."""
    paths = {}
    for size, name in enumerate(("girl", "ink", "glow"), 10):
        paths[name] = tmp_path / f"{name}.safetensors"
        paths[name].write_bytes(name[:1].encode() * size)
    return paths


def known(files, base="sd15", character=("girl", 0.8), style=("ink", 0.5)):
    loras = [KnownLora.of(f"{name}.safetensors", files[name], strength) for name, strength in (character, style)]
    return MeasuredPair(base=base, character=loras[0], style=loras[1], scores=SCORES, eye="judge", sweep="one",
                        at="2030-01-01T00:00:00+00:00")


def told(path, files, *names):
    return recall(path, [(name, files[name]) for name in names])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "output" / FILE


def test_what_was_measured_is_told_of_a_stack_that_holds_both(path, files):
    assert told(path, files, "girl", "ink") == []
    assert remember(path, "b1", known(files)) == ""
    assert told(path, files, "ink", "glow", "girl") == ["measured on sd15: girl 0.8, ink 0.5 (harmonic 0.84)"]
    assert told(path, files, "girl", "glow") == [] == told(path, files)


def test_each_base_has_its_own_and_a_new_measure_takes_the_place_of_the_old(path, files):
    remember(path, "b1", known(files))
    remember(path, "b2", known(files, "anime", ("girl", 0.9)))
    remember(path, "b1", known(files, "sd15", ("girl", 0.7), ("ink", 0.4)))
    remember(path, "b1", known(files, "sd15", style=("glow", 0.3)))
    assert told(path, files, "girl", "ink") == [
        "measured on sd15: girl 0.7, ink 0.4 (harmonic 0.84)", "measured on anime: girl 0.9, ink 0.5 (harmonic 0.84)"]
    values = json.loads(path.read_text())
    assert values["version"] == 1 and list(values["bases"]) == ["b1", "b2"] and len(values["bases"]["b1"]) == 2
    (one,) = values["bases"]["b2"].values()
    assert one["character"]["name"] == "girl.safetensors" and one["sweep"] == "one" and one["scores"] == SCORES


def test_a_renamed_file_is_still_known_and_another_of_its_name_is_not(path, files):
    remember(path, "b1", known(files))
    files["hero"] = files["girl"].rename(files["girl"].with_name("hero.safetensors"))
    assert told(path, files, "hero", "ink") == ["measured on sd15: hero 0.8, ink 0.5 (harmonic 0.84)"]
    files["ink"].write_bytes(b"x" * files["ink"].stat().st_size)
    assert told(path, files, "hero", "ink") == []


def test_files_of_another_size_are_not_read(path, files, monkeypatch):
    remember(path, "b1", known(files))
    read = []
    monkeypatch.setattr("lora_bootstrap.trainer.stacks.known_strengths.file_hash", lambda file: read.append(file.stem))
    told(path, files, "girl", "glow")
    assert read == ["girl"]


@pytest.mark.parametrize("damage", ["{", "[]", '{"bases": []}', '{"bases": {"b1": {"k": {"base": "x"}}}}', "3", "null"])
def test_a_damaged_file_is_a_line_and_is_kept_when_a_new_one_is_begun(path, files, damage):
    path.parent.mkdir()
    path.write_text(damage)
    (line,) = told(path, files, "girl", "ink")
    assert FILE in line and "Repair or delete" in line and "\n" not in line
    assert "It was renamed to lora_strengths.damaged.json, and a new one was" in remember(path, "b1", known(files))
    assert path.with_suffix(".damaged.json").read_text() == damage
    assert told(path, files, "girl", "ink") == ["measured on sd15: girl 0.8, ink 0.5 (harmonic 0.84)"]


@pytest.mark.parametrize("change", [{"scores": {"harmonic": None}}, {"scores": {}}, {"base": 3, "style": None},
                                    {"character": {"strength": "much"}}])
def test_an_entry_that_was_broken_by_hand_is_a_line_too(path, files, change):
    remember(path, "b1", known(files))
    values = json.loads(path.read_text())
    (one,) = values["bases"]["b1"].values()
    one |= change
    path.write_text(json.dumps(values))
    (line,) = told(path, files, "girl", "ink")
    assert "does not contain strengths of LoRAs" in line
