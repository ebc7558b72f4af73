"""Label files of taggers as they are found, from public files."""

import numpy as np

from lora_bootstrap.trainer.tagging.choice import Chooser, TagChoice
from lora_bootstrap.trainer.tagging.labels import CATEGORIES, read_labels


def test_a_blanked_row_keeps_its_place_and_is_never_written(tmp_path):
    """A published selected_tags.csv has a row of commas: https://huggingface.co/xiyuanba/wd"""
    path = tmp_path / "selected_tags.csv"
    path.write_text("tag_id,name,category,count\n1,general,9,5\n2,1girl,0,5\n,,,\n4,hat,0,5\n")
    labels = read_labels(path)
    assert [label.name for label in labels] == ["general", "1girl", "", "hat"]
    chosen = Chooser(labels, TagChoice(), dict.fromkeys(CATEGORIES, 0.3)).choose(np.array([0.9, 0.8, 0.99, 0.7]))
    assert chosen.names == ("1girl", "hat") and chosen.rating.name == "general"
