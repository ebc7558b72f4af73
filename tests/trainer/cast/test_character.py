"""A character's file says what is asked for; a mistake in it is reported with its file and line."""

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import pytest

from lora_bootstrap.trainer.cast.character import GATES, Character, read_cast, read_character
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.statements.consent import Statement
from lora_bootstrap.trainer.statements.rights import Rights

from ...helpers.cast import write_character

MORE = """
[style]
steps = 4
[style.adapter]
rank = 2
[character]
"adapter.rank" = 3
[sweep]
strengths = [1, 0.5]
seeds = [1, 2]
[score]
most_burn = 4
"""


def test_a_file_holds_the_projects_settings_the_trainings_the_sweeps_and_the_scores(tmp_path):
    path = write_character(tmp_path, "zqx", more=MORE, targets="[2, 4]", candidates="[6]", price="0.5")
    character = read_character(path)
    assert character.project.tags == ("1girl", "solo") and character.project.targets == (2, 4)
    assert character.project.picture == str(tmp_path / "zqx.png")
    assert character.project.style == {"steps": 4, "adapter.rank": 2}
    assert character.project.character == {"adapter.rank": 3}
    assert character.sweep.strengths == (1.0, 0.5) and character.sweep.seeds == (1, 2)
    assert character.score.gates == {"most_burn": 4.0} and character.price == 0.5
    assert Character.from_dict(json.loads(json.dumps(character.to_dict()))) == character


@pytest.mark.parametrize(("right", "wrong", "told"), [
    ("steps = 4", "stps = 4", r"zqx.toml, line 6: unknown setting 'stps'. Did you mean 'steps'"),
    ('trigger = "zqx"', 'triger = "zqx"', r"line 3: unknown setting 'triger'. Did you mean 'trigger'"),
    ("[1, 0.5]", "[1, 'x']", r"line 12: strengths 2 is 'x'; it must be a number"),
    ("most_burn", "most_brn", r"line 15: unknown gate in score 'most_brn'. Did you mean 'most_burn'"),
    ('"zqx.png"', '"no.png"', r"line 1: picture '.*no.png' is not a file"),
    ("[sweep]", "[sweep]\ncheckpoints = 'lst 3'", r"line 12: checkpoints 'lst 3' cannot be read; write all, last"),
    ('trigger = "zqx"', 'trigger = "zqx"\nlikeness = "no"', r"line 4: likeness 'no' is not a folder"),
    ("steps = 4", "steps = ", r"zqx.toml cannot be read: Invalid value \(at line 6"),
    ("[score]", "price = -1\n[score]", r"line 14: unknown setting in sweep 'price'"),
])
def test_a_mistake_is_reported_with_its_file_and_line(tmp_path, right, wrong, told):
    path = write_character(tmp_path, "zqx", more=MORE)
    path.write_text(path.read_text().replace(right, wrong))
    with pytest.raises(UserError, match=told):
        read_character(path)


def test_paths_lead_to_the_same_files_from_the_folder_of_a_worker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eyes").mkdir()
    (tmp_path / "sandbox").mkdir()
    base = tmp_path / "base.safetensors"
    base.write_bytes(b"")
    write_character(tmp_path, "zqx", base='"base.safetensors"', likeness='"eyes"')
    project = read_character(Path("zqx.toml")).project
    assert (project.picture, project.base, project.likeness) == \
        tuple(str(tmp_path / name) for name in ("zqx.png", "base.safetensors", "eyes"))
    assert read_character(write_character(tmp_path, "zqx", base='"sandbox"')).project.base == "sandbox"


def test_two_characters_cannot_have_one_name(tmp_path):
    files = [write_character(tmp_path, "a"), write_character(tmp_path, "b", name='"A"')]
    with pytest.raises(UserError, match=r"b\.toml: the name 'A' is also that of .*a\.toml"):
        read_cast(files)


def test_the_key_is_of_all_that_decides_the_results_but_not_of_the_price_or_the_place(tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    key = read_character(write_character(tmp_path, "zqx")).key
    assert read_character(write_character(other, "zqx", price="2.0")).key == key
    assert read_character(write_character(other, "zqx", more="[sweep]\nseeds = [2]\n")).key != key
    path = write_character(other, "zqx")
    (other / "zqx.png").write_bytes((other / "zqx.png").read_bytes() + b" ")
    assert read_character(path).key != key


def test_answers_about_consent_are_of_the_character_and_only_stated_ones_of_its_key(tmp_path):
    plain = read_character(write_character(tmp_path, "zqx"))
    stated = read_character(write_character(tmp_path, "zqx", more=(
        '[rights]\nperson = "real"\nconsent_by = "Jo"\nconsent_uses = ["training"]\nlicence = "mit"\n')))
    rights = Rights(person="real", consent_by="Jo", consent_uses=("training",))
    assert stated.statement == Statement(rights, "mit") and plain.statement == Statement()
    assert Character.from_dict(json.loads(json.dumps(stated.to_dict()))) == stated
    asked = {**plain.to_dict(), "price": None, "file": ""}
    digest = hashlib.sha256((tmp_path / "zqx.png").read_bytes()).hexdigest()
    asked = {**asked, "project": {**asked["project"], "picture": digest}}
    del asked["statement"]  # as in earlier versions, which knew of none
    assert plain.key == hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24] != stated.key
    with pytest.raises(UserError, match=r"zqx.toml, line \d+: unknown setting in rights 'licens'"):
        read_character(write_character(tmp_path, "zqx", more='[rights]\nlicens = "mit"\n'))


def test_the_gates_are_those_of_the_scores():
    from lora_bootstrap.trainer.sweeps.score import ScoreSettings

    limits = {item.name for item in fields(ScoreSettings) if item.name.startswith(("most_", "least_"))}
    assert set(GATES) == limits
