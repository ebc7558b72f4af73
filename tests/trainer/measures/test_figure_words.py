"""The figures have the same words in the panels and on the pages that the library writes."""

import re
from pathlib import Path

from lora_bootstrap.trainer.measures.figure_words import FIGURES

PANELS = Path(__file__).parents[3] / "web" / "common" / "figures.js"


def test_a_figure_is_called_and_explained_in_one_way_wherever_it_stands():
    table = PANELS.read_text("utf-8").split("FIGURES = {")[1].split("\n};")[0]
    rows = re.findall(r'^  (\w+): \["([^"]*)",\s*"([^"]*)"\],$', table, re.MULTILINE)
    assert {key: (name, words) for key, name, words in rows} == dict(FIGURES) and len(rows) == 11
