"""The figures have the same words in the panels and on the pages that the library writes."""

import re
from pathlib import Path

from lora_bootstrap.trainer.measures.figure_words import FIGURES
from lora_bootstrap.trainer.sweeps import score_table

PANELS = Path(__file__).parents[3] / "web" / "common" / "figures.js"


def test_a_figure_is_called_and_explained_in_one_way_wherever_it_stands():
    table = PANELS.read_text("utf-8").split("FIGURES = {")[1].split("\n};")[0]
    rows = re.findall(r'^  (\w+): \["([^"]*)",\s*"([^"]*)"\],$', table, re.MULTILINE)
    assert {key: (name, words) for key, name, words in rows} == dict(FIGURES) and len(rows) == 16


def test_the_scores_of_a_sweep_have_the_headings_of_the_viewer():
    table = PANELS.read_text("utf-8").split("SWEEP_FIGURES = {")[1].split("\n};")[0]
    assert re.findall(r'^  (\w+): \["([^"]*)",', table, re.MULTILINE) == list(score_table.FIGURES)
