"""A sweep on disk: keys that tell pictures apart, cells that are made once, and what a kill leaves."""

import json
import os
from dataclasses import replace

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.sweeps import cells
from lora_bootstrap.trainer.sweeps.cells import (
    MOST_CELLS,
    NO_LORA,
    Axis,
    Choice,
    Sweep,
    base_axis,
    cell_key,
    checkpoint_axis,
    prompt_axis,
    seed_axis,
    strength_axis,
)

from ...helpers.drawn_sweep import write_lora

SHARED = {"steps": 2, "cfg": 3.0, "stack": [["style.safetensors", "ab12", 0.6, 0.6]]}


@pytest.fixture
def files(tmp_path):
    return [write_lora(tmp_path / "loras" / f"akane-step{step:06d}.safetensors", step, "akane") for step in (10, 20)]


@pytest.fixture
def sweep(tmp_path, files):
    return plan(tmp_path / "sweep", files)


def plan(folder, files, strengths=(0.5, 1.0), prompts=("a", "b"), seeds=(1, 2), bases=None, **more):
    axes = [checkpoint_axis(files), strength_axis(strengths), prompt_axis(prompts), seed_axis(seeds)]
    if bases:
        axes.insert(0, base_axis(bases))
    return Sweep(folder, "a title", tuple(axes), **({"shared": SHARED, "without": True} | more))


def picture(shade=0):
    return Image.new("RGB", (4, 4), (shade, 0, 0))


def keys(found):
    return [cell.key for cell in found]


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_is_by_what_decides_the_picture_in_whatever_order(sweep):
    facts = dict(sweep.cells[0].facts)
    key = cell_key(facts)
    assert len(key) == 16 and set(key) <= set("0123456789abcdef")
    assert cell_key(dict(reversed(facts.items()))) == key == sweep.cells[0].key


@pytest.mark.parametrize(("name", "value"), [
    ("lora", "elsewhere/renamed.safetensors"), ("step", 99), ("epoch", 9), ("run", "other"), ("trigger", "zqx"),
    ("family", "sdxl"), ("kind", "style"), ("lora_sha256", "0")])
def test_where_a_lora_comes_from_is_not_in_its_key(sweep, name, value):
    assert cell_key({**sweep.cells[0].facts, name: value}) == sweep.cells[0].key


@pytest.mark.parametrize(("name", "value"), [
    ("lora_tensors", "0"), ("strength", 0.51), ("prompt", "a "), ("seed", 3), ("steps", 3), ("cfg", 3.1), ("new", 1),
    ("stack", []), ("stack", [["style.safetensors", "ab12", 0.6, 0.7]])])
def test_whatever_decides_the_picture_is_in_its_key(sweep, name, value):
    assert cell_key({**sweep.cells[0].facts, name: value}) != sweep.cells[0].key


def test_a_lora_of_the_same_bytes_under_another_name_is_the_same_cells(tmp_path, files):
    renamed = files[0].with_name("renamed.safetensors")
    renamed.write_bytes(files[0].read_bytes())
    assert keys(plan(tmp_path, [renamed]).cells) == keys(plan(tmp_path, files[:1]).cells)
    write_lora(renamed, 10, "akane", value=0.6)
    os.utime(renamed, (1, 1))
    assert not set(keys(plan(tmp_path, [renamed]).cells)) & set(keys(plan(tmp_path, files[:1]).cells))


def test_a_lora_trained_again_with_the_same_result_is_the_same_cells(tmp_path, files):
    again = tmp_path / "again.safetensors"
    save_file(load_file(files[0]), again, {"ss_training_started_at": "now"})
    assert again.read_bytes() != files[0].read_bytes()
    assert keys(plan(tmp_path, [again]).cells) == keys(plan(tmp_path, files[:1]).cells)


def test_cells_of_an_earlier_version_keep_the_keys_that_their_files_have(sweep):
    """Their facts do not have the hash of the weights."""
    facts = {name: value for name, value in sweep.cells[0].facts.items() if name != "lora_tensors"}
    facts |= {"lora_sha256": "ab", "base": "sandbox"}
    assert cell_key(facts) == "ce222024bb36b4d7"
    assert cell_key({**facts, "lora_sha256": "cd"}) != cell_key(facts)
    without = {**facts, **NO_LORA}
    del without["lora_tensors"]
    assert cell_key(without) == cell_key({**facts, **NO_LORA}) == "30045011c36fe616"


def test_another_sweep_that_shares_values_shares_cells(tmp_path, files):
    small, large = plan(tmp_path, files[:1], strengths=(1.0,)), plan(tmp_path, files, strengths=(0.2, 1.0, 1.2))
    assert set(keys(small.everything)) < set(keys(large.everything))


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_cells_are_made_in_the_order_of_the_axes_references_first(sweep):
    assert len(sweep) == 16 and len(sweep.references) == 4 and len(sweep.everything) == 20
    assert sweep.everything == sweep.references + sweep.cells
    assert [cell.at for cell in sweep.cells[:3]] == [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)]
    assert [cell.at for cell in sweep.references] == [(None, None, 0, 0), (None, None, 0, 1), (None, None, 1, 0),
                                                      (None, None, 1, 1)]
    facts = sweep.cells[-1].facts
    assert (facts["step"], facts["epoch"], facts["run"], facts["strength"], facts["prompt"], facts["seed"],
            facts["steps"]) == (20, 2, "akane", 1.0, "b", 2, 2)


def test_every_cell_is_another_picture(sweep):
    assert len(set(keys(sweep.everything))) == 20


def test_bases_follow_one_another_each_with_its_references(tmp_path, files):
    sweep = plan(tmp_path, files[:1], strengths=(1.0,), seeds=(1,), bases={"as linked": "x", "other": "y"})
    assert [cell.at[0] for cell in sweep.everything] == [0] * 4 + [1] * 4
    assert [cell.at[1] for cell in sweep.everything] == [None, None, 0, 0] * 2
    assert [cell.facts["base"] for cell in sweep.references] == ["x", "x", "y", "y"]


def test_references_have_no_lora_and_are_found_for_each_cell(sweep):
    for cell in sweep.cells:
        reference = sweep.reference(cell)
        assert reference in sweep.references and {name: reference.facts[name] for name in NO_LORA} == NO_LORA
        assert [reference.facts[name] for name in ("prompt", "seed")] == [cell.facts[name] for name in
                                                                          ("prompt", "seed")]
    alone = replace(sweep, without=False)
    assert alone.references == () and alone.reference(alone.cells[0]) is None and alone.everything == alone.cells


def test_strength_0_is_the_picture_without_the_lora(tmp_path, files):
    sweep = plan(tmp_path, files, strengths=(0, 1), prompts=("a",), seeds=(1,))
    zeros = [cell for cell in sweep.cells if cell.at[1] == 0]
    assert {cell.key for cell in zeros} == {sweep.references[0].key} and zeros[0].facts["lora"] == ""
    assert len(sweep.everything) == 5 and len(sweep.states()) == len(sweep.missing()) == 3


def test_a_cell_is_found_by_its_places(sweep):
    assert sweep.cell(strength=1, seed=1).at == (0, 1, 0, 1) and sweep.cell() is sweep.cells[0]
    assert sweep.cell(checkpoint=None, strength=None, prompt=1).at == (None, None, 1, 0)
    assert sweep.cell(seed=2) is None and sweep.axis("base") is None and sweep.axis("seed").choices[1].label == "2"


def test_an_axis_that_a_sweep_does_not_have_is_named_with_those_it_has(sweep):
    assert [choice.label for choice in sweep.choices("seed")] == ["1", "2"]
    with pytest.raises(UserError, match="axis of sweep 'sweep' 'base'. Valid: checkpoint, prompt, seed, strength"):
        sweep.choices("base")


def test_an_axis_without_values_and_too_many_cells_are_told(tmp_path, files):
    with pytest.raises(UserError, match="has no prompt and no seed; give at least one"):
        plan(tmp_path, files, prompts=(), seeds=())
    assert len(plan(tmp_path, files[:1], strengths=(1,), prompts="ab", seeds=range(MOST_CELLS // 2))) == MOST_CELLS
    with pytest.raises(UserError, match=f"has {MOST_CELLS + 2} cells; at most {MOST_CELLS}"):
        plan(tmp_path, files[:1], strengths=(1,), prompts="ab", seeds=range(MOST_CELLS // 2 + 1))


# -- axes --------------------------------------------------------------------------------------------------------------


def test_checkpoints_are_labelled_by_step_and_epoch_else_by_their_name(tmp_path, files):
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes((2).to_bytes(8, "little") + b"{}")
    axis = checkpoint_axis([*files, plain], ["a/1", "a/2", "plain"])
    assert [choice.label for choice in axis.choices] == ["step 10 (epoch 1)", "step 20 (epoch 2)", "plain"]
    facts = axis.choices[2].facts
    assert (facts["lora"], facts["step"], facts["epoch"], facts["run"], facts["kind"]) == ("plain", None, None, "plain",
                                                                                           "")


def test_checkpoints_of_one_step_are_told_apart_by_their_run(tmp_path):
    files = [write_lora(tmp_path / f"{run}.safetensors", 10, run) for run in ("akane", "sora")]
    assert [choice.label for choice in checkpoint_axis(files).choices] == [
        "akane step 10 (epoch 1)", "sora step 10 (epoch 1)"]


def test_what_a_lora_says_of_itself_is_among_its_facts(tmp_path):
    import torch
    from safetensors.torch import save_file

    def told(**metadata):
        save_file({"a": torch.zeros(1)}, tmp_path / "one.safetensors", metadata)
        return checkpoint_axis([tmp_path / "one.safetensors"]).choices[0].facts

    facts = told(ss_steps="400", ss_output_name="girl", **{
        "modelspec.trigger_phrase": "zqx", "lora_bootstrap.family": "sdxl", "lora_bootstrap.config":
            json.dumps({"kind": "style"})})
    assert (facts["step"], facts["epoch"], facts["run"], facts["trigger"], facts["family"], facts["kind"]) == (
        400, None, "girl", "zqx", "sdxl", "style")
    for config in ("no json", "[1]", "{}", "7"):
        assert told(ss_steps="many", **{"lora_bootstrap.config": config})["kind"] == ""
    assert told(ss_steps="many")["step"] is None


def test_a_file_that_is_no_lora_is_told(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"pickle")
    with pytest.raises(UserError, match="bad.safetensors cannot be read as a LoRA"):
        checkpoint_axis([tmp_path / "bad.safetensors"])


def test_a_value_given_twice_is_one_choice():
    assert [choice.label for choice in strength_axis([0.5, 1, 0.50, 1.0]).choices] == ["0.5", "1"]
    assert strength_axis([1]).choices == strength_axis([1.0]).choices
    assert len(prompt_axis(["a", "a"]).choices) == len(seed_axis([3, 3]).choices) == 1


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), "strong", None])
def test_a_strength_is_a_finite_number(strength):
    with pytest.raises(UserError, match="the strength of a cell is .*; it must be a number from -100 to 100"):
        strength_axis([0.5, strength])


# -- on disk -----------------------------------------------------------------------------------------------------------


def test_a_sweep_comes_back_as_it_was_written(sweep):
    sweep.write()
    again = Sweep.load(sweep.folder)
    assert again == sweep and keys(again.everything) == keys(sweep.everything)
    assert [cell["key"] for cell in read_json(sweep.folder / "manifest.json")["cells"]] == keys(sweep.everything)


def test_a_saved_cell_is_done_and_its_picture_says_what_it_is(sweep):
    cell = sweep.cells[3]
    path = sweep.save(cell, picture(200), {"prompt": "{}", "parameters": "Größe 4"})
    assert sweep.states()[cell.key] == "done" and sweep.problem(cell) == ""
    with Image.open(path) as image:
        assert image.getpixel((0, 0)) == (200, 0, 0)
        assert json.loads(image.text["lora_bootstrap"]) == cell.facts == read_json(sweep.record(cell))
        assert (image.text["prompt"], image.text["parameters"]) == ("{}", "Größe 4")
    assert keys(sweep.missing()) == [key for key in keys(sweep.everything) if key != cell.key]


def test_failed_cells_are_tried_again_after_those_that_are_missing(sweep):
    for cell in sweep.everything[:2]:
        sweep.fail(cell, "out of memory")
    assert sweep.problem(sweep.everything[0]) == "out of memory" and sweep.problem(sweep.everything[5]) == ""
    assert keys(sweep.missing()) == keys(sweep.everything[2:] + sweep.everything[:2])
    sweep.save(sweep.everything[0], picture())
    assert sweep.states()[sweep.everything[0].key] == "done" and sweep.problem(sweep.everything[0]) == ""
    assert keys(sweep.missing()) == keys(sweep.everything[2:] + sweep.everything[1:2])
    sweep.fail(sweep.everything[0], "")
    assert sweep.states()[sweep.everything[0].key] == "failed" and not sweep.picture(sweep.everything[0]).exists()


def test_killed_between_picture_and_record_a_cell_is_missing(sweep, monkeypatch):
    cell = sweep.cells[0]
    sweep.save(cell, picture(1))

    def killed(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(cells, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep.save(cell, picture(2))
    assert sweep.picture(cell).is_file() and sweep.states()[cell.key] == "missing", "an old record would vouch for it"
    monkeypatch.undo()
    sweep.save(cell, picture(3))
    assert sweep.states()[cell.key] == "done"


def test_killed_while_the_picture_is_written_a_cell_is_missing_and_nothing_half_is_left(sweep):
    class Killed:
        def save(self, temp, **_):
            temp.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.save(sweep.cells[0], Killed())
    assert sweep.states()[sweep.cells[0].key] == "missing" and list(sweep.cells_folder.iterdir()) == []


def test_a_sweep_that_was_never_run_is_all_missing(sweep):
    assert set(sweep.states().values()) == {"missing"} and sweep.missing() == list(sweep.everything)
    assert not sweep.folder.exists()


@pytest.mark.parametrize(("change", "says"), [
    ({"version": 2}, "written by another version; run the sweep again"), ({"axes": None}, "is not a sweep"),
    ({"axes": [5]}, "is not a sweep"), ({"axes": [{"name": "seed", "choices": [{"label": "1"}]}]}, "is not a sweep"),
    ({"axes": [{"name": "seed", "choices": []}]}, "has no seed")])
def test_a_manifest_of_another_version_or_hand_is_told(sweep, change, says):
    sweep.write()
    path = sweep.folder / "manifest.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(UserError, match=says):
        Sweep.load(sweep.folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"version": 1}', "null"])
def test_a_damaged_manifest_is_told(sweep, text):
    sweep.folder.mkdir()
    (sweep.folder / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="manifest.json is (not a sweep|not valid JSON)"):
        Sweep.load(sweep.folder)
    (sweep.folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="cannot read"):
        Sweep.load(sweep.folder)


def test_facts_of_shared_choices_are_not_changed_by_making_cells(sweep):
    choice = Choice("1", {"seed": 1})
    one = Sweep(sweep.folder, "", (Axis("seed", (choice,)),), {"lora": "kept", "strength": 0.5})
    assert one.cells[0].facts["lora"] == "kept" and choice.facts == {"seed": 1} and one.shared["strength"] == 0.5


def test_images_of_a_batch_lie_beside_the_cell_and_go_with_it(sweep):
    one, two, black = sweep.cells[0], sweep.cells[1], Image.new("RGB", (8, 8))
    assert sweep.save(one, black, more=[black, black]).name == f"{one.key}.png"
    assert all((sweep.cells_folder / f"{one.key}-{number}.png").is_file() for number in (1, 2))
    sweep.save(two, black, more=[black])
    assert sweep.count_more() == 3 and sweep.counts()["done"] == 2
    sweep.save(one, black)
    assert sweep.count_more() == 1 and not sweep.picture(one, 1).is_file()
    sweep.fail(two, "no")
    assert sweep.count_more() == 0 and sweep.counts() == {"done": 1, "failed": 1, "total": len(sweep.states())}


def test_a_cell_is_saved_with_its_facts_with_more_or_with_no_text_at_all(sweep):
    cell, black = sweep.cells[0], Image.new("RGB", (8, 8))
    for texts, names in (({}, ["lora_bootstrap"]), ({"prompt": "{}"}, ["lora_bootstrap", "prompt"]), (None, [])):
        sweep.save(cell, black, texts)
        with Image.open(sweep.picture(cell)) as image:
            assert list(image.text) == names
        assert read_json(sweep.record(cell))["seed"] == cell.facts["seed"]
