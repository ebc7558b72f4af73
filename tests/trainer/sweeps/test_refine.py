"""Strengths of a pair from pictures: the plan, the three figures, the harmonic mean, the pair to take, the words."""

import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.sweeps.cells import STACK, STRENGTH, Sweep, base_axis
from lora_bootstrap.trainer.sweeps.refine import (
    NEAR,
    Pair,
    Stacked,
    harmonic_mean,
    heat_maps,
    judge_pairs,
    pair_sweep,
    refine,
    write_refinement,
)
from lora_bootstrap.trainer.sweeps.sheets import choose_axes, write_sheets

from ...helpers.drawings import draw_once
from ...helpers.drawn_sweep import write_lora

AKANE, OTHER = world.HELD_OUT["akane"], world.HELD_OUT["momo"]
LABELS = ("girl", "ink")
CHARACTER, STYLE = (0.5, 0.75, 1.0), (0.25, 0.5, 0.75)
PROMPTS = ("akane, grass", "akane, night sky")


def planned(tmp_path, characters=CHARACTER, styles=STYLE, prompts=PROMPTS, seeds=(1, 2), **more):
    loras = [Stacked(f"{label}.safetensors", write_lora(tmp_path / f"{label}.safetensors", step, label), label)
             for step, label in enumerate(LABELS)]
    return pair_sweep(tmp_path / "sweep", base_axis({"as linked": "b"}), *loras, (characters, styles), prompts=prompts,
                      seeds=seeds, shared={"width": 64, "height": 64, "steps": 2}, **more)


def share(cell):
    """(character's, style's) strength in a cell."""
    mine = [entry[2] for entry in cell.facts["stack"] if entry[0] == "ink.safetensors"]
    return cell.facts["strength"], (mine or [0.0])[0]


def draw(sweep, failing=()):
    """Both come as they grow; a style above a half takes of the character."""
    sweep.write()
    for cell in sweep.missing():
        character, style = share(cell)
        shown = 0.5 * character * (1 + character) * (1 - max(0, style - 0.5) * 2)
        view = {"background": cell.facts["prompt"].split(", ")[1],
                "expression": ("smile", "open mouth")[cell.facts["seed"] - 1]}

        def picture(look, view=view, shown=shown):
            girls = [draw_once(world.Scene(girl, style=look, **view), 64) for girl in (OTHER, AKANE)]
            return Image.blend(*girls, shown)

        sweep.save(cell, Image.blend(picture("flat color"), picture("lineart"), min(1, 1.5 * style)))
    return sweep


class Eye:
    """Sees the reds of akane's hair, and grass; nothing else."""

    name = "fake eye"

    def embed(self, pixels):
        red = (pixels[:, 0] - pixels[:, 1:].amax(1)).clamp(min=0)[:, 8:28, 16:48].mean((1, 2))
        return F.normalize(torch.stack([red * 12, torch.full_like(red, 1.0)], dim=1), dim=1)

    def read_tags(self, pixels, tags):
        grass = (pixels[:, 1] > pixels[:, 2] + 0.1).float().mean((1, 2)) > 0.3
        return torch.stack([grass.float() if tag == "grass" else torch.full((len(pixels),), float("nan"))
                            for tag in tags], dim=1)


def measured(sweep, eye=None, **more):
    *events, last = refine(sweep, LABELS, eye=eye, triggers=("akane",), **more)
    assert [event.what for event in events] == ["strengths"] * len(events)
    return last


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw(planned(tmp_path_factory.mktemp("pairs")))


@pytest.fixture(scope="module")
def result(drawn):
    return measured(drawn, Eye())


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_each_pair_is_drawn_and_each_lora_alone_at_its_largest_and_neither(tmp_path):
    sweep = planned(tmp_path)
    places = [share(cell) for cell in sweep.cells]
    assert len(sweep) == len(places) == (9 + 3) * 4 and sweep.references == ()
    alone = {place for place in places if 0 in place}
    assert alone == {(1.0, 0), (0, 0.75), (0, 0)}
    assert len({cell.key for cell in sweep.cells}) == 48
    bare = [cell.facts for cell in sweep.cells if cell.facts["strength"] == 0]
    assert len(bare) == 8 and all(facts["lora"] == facts["lora_sha256"] == "" for facts in bare)


def test_other_loras_lie_in_every_cell_below_the_style(tmp_path):
    glow = ["glow.safetensors", "hash", 0.4, 0.2]
    stacks = [cell.facts["stack"] for cell in planned(tmp_path, below=[glow], seeds=(1,), prompts=PROMPTS[:1]).cells]
    assert all(stack[0] == glow for stack in stacks) and {len(stack) for stack in stacks} == {1, 2}


def test_strengths_stand_in_their_order_each_once_and_labels_say_whose(tmp_path):
    sweep = planned(tmp_path, characters=(1.0, 0.5, 1.0), styles=(0.4, 0.3))
    assert [choice.label for choice in sweep.axis(STRENGTH).choices] == ["girl 0.5", "girl 1", "no girl"]
    assert [choice.label for choice in sweep.axis(STACK).choices] == ["ink 0.3", "ink 0.4", "no ink"]
    assert choose_axes(planned(tmp_path)) == (STACK, STRENGTH)


@pytest.mark.parametrize("strengths", [{"characters": (0, 1)}, {"styles": (0.5, -0.5)}])
def test_a_strength_that_is_not_above_0_is_refused(tmp_path, strengths):
    with pytest.raises(UserError, match="give strengths above 0. Each LoRA is also drawn without the other"):
        planned(tmp_path, **strengths)


def test_without_a_prompt_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(UserError, match="prompts is empty; write one prompt per line"):
        planned(tmp_path, prompts=())


def test_a_plan_is_read_again_as_it_was_written_and_other_plans_are_as_before(tmp_path):
    sweep = planned(tmp_path)
    sweep.write()
    again = Sweep.load(sweep.folder)
    assert again.alone and again.cells == sweep.cells and len(again) == len(sweep)
    whole = Sweep(tmp_path / "whole", "", sweep.axes, sweep.shared)
    whole.write()
    assert "alone" not in json.loads((whole.folder / "manifest.json").read_text()) and len(whole) == 16 * 4
    assert {cell.at: cell.key for cell in sweep.cells}.items() <= {cell.at: cell.key for cell in whole.cells}.items()


def test_the_sheet_shows_both_axes_and_leaves_what_is_not_made_empty(drawn):
    paths = write_sheets(drawn, rows=STACK, columns=STRENGTH)
    assert len(paths) == 4, "a page for each prompt and seed"
    assert drawn.cell(stack=0, strength=3) is None and drawn.cell(stack=2, strength=3) is not None


# -- the figures -------------------------------------------------------------------------------------------------------


def figure(result, name):
    """By (character's, style's) strength."""
    return {(pair.character, pair.style_strength): getattr(pair, name) for pair in result.pairs}


def test_identity_falls_with_the_style_and_rises_with_the_character(result):
    identity = figure(result, "identity")
    assert all(0 <= value <= 1 for value in identity.values())
    assert identity[1.0, 0.25] > identity[0.5, 0.25] and identity[1.0, 0.25] > identity[1.0, 0.75]
    assert identity[1.0, 0.25] > 0.9, "nearly what the character alone is"


def test_style_rises_with_its_strength(result):
    style = figure(result, "style")
    for character in CHARACTER:
        values = [style[character, strength] for strength in STYLE]
        assert values == sorted(values) and values[0] < 0.6 < values[-1]


def test_prompt_is_a_share_of_what_the_base_shows_and_triggers_are_not_read(result, drawn):
    assert all(value == pytest.approx(1, abs=0.3) for value in figure(result, "prompt").values())

    class Strict(Eye):
        def read_tags(self, pixels, tags):
            assert "akane" not in tags
            return super().read_tags(pixels, tags)

    measured(drawn, Strict())


def test_the_pair_between_too_little_and_too_much_is_taken(result):
    assert (result.best_pair.character, result.best_pair.style_strength) == (1.0, 0.5)
    assert result.best_pair.harmonic == max(pair.harmonic for pair in result.pairs)
    assert result.lines[0].startswith("Take girl 1, ink 0.5: harmonic 0.")
    assert "girl 1 is at the edge of the grid, the largest strength tried: try higher too." in result.lines
    assert "Identity is measured against the character alone, because no dataset is linked." in result.lines
    assert result.lines[-1] == "Style was measured by colours, tones and lines. Identity was measured by fake eye."


def test_with_pictures_of_the_character_identity_is_likeness_to_them(drawn, tmp_path):
    for number, background in enumerate(("grass", "sunset", "blue sky")):
        draw_once(world.Scene(AKANE, background=background), 64).save(tmp_path / f"{number}.png")
    found = measured(drawn, Eye(), training=load_folder(tmp_path))
    identity = figure(found, "identity")
    assert identity[1.0, 0.25] > identity[1.0, 0.75] and "no dataset is linked" not in found.text()


def test_without_an_eye_only_style_is_measured_and_nothing_is_recommended(drawn):
    found = measured(drawn)
    assert found.best is None and found.best_pair is None and found.plateau == ()
    assert found.lines[0].startswith("Nothing is recommended: that needs both identity and style")
    assert "there is no eye. Link a CLIP Vision model" in found.lines[1]
    assert {pair.identity for pair in found.pairs} == {pair.prompt for pair in found.pairs} == {None}
    assert list(heat_maps(drawn, found)) == ["harmonic", "style"]


def test_an_eye_that_reads_no_tags_leaves_prompt_out_of_the_mean(drawn):
    class Blind(Eye):
        def read_tags(self, pixels, tags):
            return None

    found = measured(drawn, Blind())
    assert {pair.prompt for pair in found.pairs} == {None} and "prompt not measured" in found.lines[0]
    assert "Prompt is not measured: nothing can recognize its tags. Choose a tagger." in found.lines
    for pair in found.pairs:
        assert pair.harmonic == pytest.approx(harmonic_mean([pair.identity, pair.style]))


def test_cells_that_are_absent_are_left_out_and_counted(tmp_path):
    sweep = draw(planned(tmp_path))
    for cell in [cell for cell in sweep.cells if share(cell) == (1.0, 0)]:
        sweep.fail(cell, "no memory")
    for cell in [cell for cell in sweep.cells if share(cell) == (0.5, 0.25)]:
        sweep.picture(cell).unlink()
    found = measured(sweep, Eye())
    assert len(found.pairs) == 8 and found.best is None
    assert "8 of 48 cells are missing or failed; they are not in the figures." in found.lines
    assert "Style is not measured: images of each LoRA alone and of neither are missing or failed." in found.lines
    assert "Identity is not measured: the images of the character alone are missing or failed." in found.lines


def test_one_view_that_is_whole_is_enough_for_the_style(tmp_path):
    sweep = draw(planned(tmp_path))
    for cell in [cell for cell in sweep.cells if share(cell) == (1.0, 0)][1:]:
        sweep.fail(cell, "no memory")
    style = figure(measured(sweep, Eye()), "style")
    assert style[1.0, 0.75] > style[1.0, 0.25]


def test_a_style_that_does_nothing_is_said(tmp_path):
    sweep = planned(tmp_path, seeds=(1,))
    for cell in sweep.missing():
        sweep.save(cell, draw_once(world.Scene(AKANE if cell.facts["strength"] else OTHER), 64))
    found = measured(sweep, Eye())
    assert found.best is None and "the style alone cannot be told apart from the character alone" in found.text()


def test_a_sweep_without_a_pair_is_refused(tmp_path):
    with pytest.raises(UserError, match="sweep 'sweep' has no finished cell of a pair to score. Run it first."):
        measured(planned(tmp_path), Eye())


# -- the choice --------------------------------------------------------------------------------------------------------


def judged(table, prompt=1.0, notes=()):
    """Of a table of (identity, style): a row for each of the character's strengths."""
    return judge_pairs([Pair((row, column), (row + 1) / 10, (column + 1) / 10, 4, identity, style, prompt)
                        for row, line in enumerate(table) for column, (identity, style) in enumerate(line)],
                       LABELS, notes=notes)


def test_the_harmonic_mean_is_low_if_any_figure_is():
    assert harmonic_mean([0.5, 1.0]) == pytest.approx(2 / 3) and harmonic_mean([0.9, 0.9, 0.9]) == pytest.approx(0.9)
    assert harmonic_mean([0.9, 0.0, 1.0]) == 0 and harmonic_mean([0.3, 1, 1]) < 0.6


def test_a_lucky_pair_among_bad_ones_is_not_taken():
    low, good, lucky = (0.3, 0.3), (0.8, 0.8), (0.85, 0.85)
    found = judged([[lucky, low, low, low], [low, low, good, good], [low, low, good, good], [low, low, good, good]])
    assert found.best_pair.at == (2, 3)
    assert found.best_pair.harmonic == pytest.approx(1 / ((2 / 0.8 + 1) / 3)), "its own is told, not the evened"


def test_of_equal_pairs_the_least_strengths_are_taken():
    found = judged([[(0.8, 0.8)] * 3] * 3)
    assert found.best_pair.at == (0, 0) and len(found.plateau) == 9
    assert found.lines[1] == f"Equally good within {NEAR}: 9 of 9 pairs, girl 0.1 to 0.3 with ink 0.1 to 0.3."
    assert found.lines[2:4] == (
        "girl 0.1 is at the edge of the grid, the smallest strength tried: try lower too.",
        "ink 0.1 is at the edge of the grid, the smallest strength tried: try lower too.")


def test_what_is_as_good_but_apart_is_not_on_the_plateau():
    good, low = (0.8, 0.8), (0.2, 0.2)
    found = judged([[good, low, good], [low, low, low]])
    assert len(found.plateau) == 1 and found.lines[1] == "It stands alone: no neighbouring pair is as good."


def test_one_pair_is_taken_and_has_no_edge():
    found = judged([[(0.5, 0.6)]], notes=("a note",))
    assert found.best == 0 and "the only pair" in found.lines[1] and found.lines[2] == "a note"
    assert not any("edge" in line for line in found.lines)


def test_pairs_without_a_figure_are_not_taken():
    pairs = [Pair((0, 0), 0.5, 0.3, 2, 0.9, None, 1.0), Pair((1, 0), 1.0, 0.3, 2, 0.4, 0.4, 1.0)]
    assert judge_pairs(pairs, LABELS).best == 1


# -- on disk -----------------------------------------------------------------------------------------------------------


def test_what_was_found_is_written_with_a_picture_of_each_figure(drawn, result):
    paths = write_refinement(drawn, result)
    assert set(paths) == {"json", "harmonic", "identity", "style", "prompt"}
    values = json.loads(paths["json"].read_text())
    assert values["pairs"][values["best"]]["character"] == 1.0 and values["labels"] == list(LABELS)
    heat = heat_maps(drawn, result)["harmonic"]
    assert heat.columns == ("girl 0.5", "girl 0.75", "girl 1") and heat.rows == ("ink 0.25", "ink 0.5", "ink 0.75")
    assert heat.title == "harmonic mean, best girl 1, ink 0.5"
    assert heat.values[1][2] == result.best_pair.harmonic
    assert Image.open(paths["harmonic"]).width > 100
