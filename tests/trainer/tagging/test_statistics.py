"""Figures of captions: counts, pairs, what is everywhere, what lacks the trigger, and the chart."""

import json

import numpy as np
import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample
from lora_bootstrap.trainer.tagging.statistics import frequency_chart, tag_statistics


def dataset_of(*captions):
    return Dataset(tuple(Sample(f"/data/{number}.png", (64, 64), caption) for number, caption in enumerate(captions)))


CAPTIONS = dataset_of("eiei, 1girl, hat, cape, smile", "eiei, 1girl, Hat, hat, cape", "1girl, hat, cape, night_sky",
                      "eiei, 1girl, smile, night sky")


def test_each_picture_counts_a_tag_once_however_it_is_spelled():
    statistics = tag_statistics(CAPTIONS, "eiei")
    assert [(one.tag, one.count, one.share, one.tag_class) for one in statistics.tags] == [
        ("1girl", 4, 1.0, "class"), ("hat", 3, 0.75, "outfit"), ("cape", 3, 0.75, "outfit"),
        ("smile", 2, 0.5, "expression"), ("night sky", 2, 0.5, "background")]


def test_what_is_everywhere_what_is_rare_and_what_lacks_the_trigger_is_told():
    statistics = tag_statistics(dataset_of(*(s.caption for s in CAPTIONS), "1girl, boots"), "EIEI")
    assert statistics.everywhere == ("1girl",) and statistics.once == ("boots",)
    assert [path.name for path in statistics.lacking_trigger] == ["2.png", "4.png"]
    assert "2 captions lack the trigger 'EIEI': 2.png, 4.png." in statistics.text()


def test_what_is_between_two_columns_is_chosen_by_who_shows_them():
    statistics = tag_statistics(dataset_of("1girl,  hat"))
    assert "    1 100%|1girl|" in statistics.text(gap="|")
    assert statistics.text(gap="|").replace("|", "  ") == statistics.text()


def test_a_sentence_that_begins_with_the_trigger_has_it_and_without_a_trigger_none_is_lacking():
    prose = dataset_of("eiei stands in a field", "a girl called eiei")
    assert [path.name for path in tag_statistics(prose, "eiei").lacking_trigger] == ["1.png"]
    assert tag_statistics(prose).lacking_trigger == ()


def test_pairs_that_never_come_apart_are_named():
    statistics = tag_statistics(CAPTIONS, "eiei")
    (pair,) = statistics.pairs
    assert (pair.first, pair.second, pair.count, pair.overlap) == ("hat", "cape", 3, 1.0)
    assert statistics.inseparable == statistics.pairs
    assert "'hat' and 'cape' always come together (3 images)" in statistics.text()


def test_the_overlap_of_a_pair_is_both_over_either():
    captions = ["a, b"] * 3 + ["a", "b", "b", "c"]
    pair = tag_statistics(dataset_of(*captions)).pairs[0]
    assert (pair.first, pair.second, pair.count) == ("b", "a", 3) and pair.overlap == pytest.approx(3 / 6)


def test_advice_on_what_is_everywhere_tells_traits_from_the_rest():
    statistics = tag_statistics(dataset_of("1girl, fox ears, smile, hat", "1girl, fox ears, smile, cape"))
    assert statistics.notes() == ["in every image: fox ears. The trigger can absorb them.",
                                  "in every image: smile. Add images without them, or the trigger learns them."]


def test_pictures_without_captions_are_counted():
    statistics = tag_statistics(dataset_of("", "a", ""))
    assert statistics.uncaptioned == 2 and statistics.tags[0].share == pytest.approx(1 / 3)
    assert "2 images have no caption." in statistics.text()
    with pytest.raises(UserError, match="the dataset is empty"):
        tag_statistics(Dataset(()))


def test_they_are_json_values():
    value = json.loads(json.dumps(tag_statistics(CAPTIONS, "eiei").to_dict()))
    assert value["tags"][1] == {"tag": "hat", "count": 3, "share": 0.75, "class": "outfit"}
    assert value["lacking_trigger"] == ["2.png"] and value["pairs"][0]["overlap"] == 1.0


def test_a_long_table_is_cut_with_a_word_about_the_rest():
    statistics = tag_statistics(dataset_of(", ".join(f"tag {n}" for n in range(60)), "tag 1"))
    assert statistics.text(most=10).endswith("… and 50 more, 59 of them in only one image")


def test_the_chart_has_a_bar_as_long_as_the_share():
    chart = np.asarray(frequency_chart(tag_statistics(dataset_of("猫, hat", "hat", "hat", "hat"))))
    row = lambda number: (chart[6 + 18 * number + 9 - 5] != 255).any(1)[190:571]  # noqa: E731
    assert row(0).sum() == 381 and row(1).sum() == pytest.approx(96, abs=1)
    assert frequency_chart(tag_statistics(dataset_of(""))).size[1] > 0
    assert frequency_chart(tag_statistics(dataset_of("holding cup, cup, 1girl, glorbo"))).size[1] > 0
