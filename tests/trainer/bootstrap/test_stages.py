"""The table of the loop's stages: their ids, titles and order."""

from lora_bootstrap.trainer.bootstrap.stages import STAGES, list_stages


def test_stages_come_in_the_order_of_the_table_those_of_a_round_once_for_each():
    names = [stage.name(number) for stage, number in list_stages(2)]
    assert names == ["crops", "reference", "style-1", "candidates-1", "curate-1", "dataset-1", "style-2",
                     "candidates-2", "curate-2", "dataset-2", "character", "grid", "report"]


def test_marks_are_drawn_before_the_last_dataset_is_made_where_that_is_asked_for():
    names = [stage.name(number) for stage, number in list_stages(2, marks=True)]
    assert names[5:12] == ["dataset-1", "style-2", "candidates-2", "curate-2", "marks", "dataset-2", "character"]


def test_a_title_names_the_round_and_where_it_is_known_the_number_of_pictures():
    assert STAGES["style"].name_and_title(1, 16) == ("style-1", "Round 1: train a style LoRA on 16 images")
    assert STAGES["style"].name_and_title(1) == ("style-1", "Round 1: train a style LoRA")
    assert STAGES["candidates"].name_and_title(2) == ("candidates-2", "Round 2: generate candidates")
    assert STAGES["curate"].name_and_title(2, 96) == ("curate-2", "Round 2: choose from 96")
    assert STAGES["dataset"].name_and_title(2, 40) == ("dataset-2", "Round 2: dataset of 40")
    assert STAGES["character"].name_and_title(count=40) == ("character", "Train the character LoRA on 40 images")


def test_stages_that_a_status_lists_have_a_label():
    labels = {stage.key: stage.label for stage in STAGES.values() if stage.label}
    assert labels == {"crops": "Crops", "style": "Style LoRA {round}", "candidates": "Candidates {round}",
                      "curate": "Pick {round}", "character": "Character LoRA"}
