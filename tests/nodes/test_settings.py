"""TrainSettings offers TrainConfig's settings, and leaves to the preset what is not chosen."""

import pytest

from lora_bootstrap.nodes.settings import ROWS, TrainSettingsNode, read_widgets
from lora_bootstrap.nodes.train import Widgets
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.training.config import TrainConfig, setting_names
from lora_bootstrap.trainer.training.presets import preset_config

BY_ITSELF = {"adapter.conv_alpha", "data.caption_variants", "offload_blocks"}
"""Settings that no widget offers."""
IN_TRAIN_LORA = {"name", "kind", "steps", "epochs", "seed", "adapter.rank", "adapter.alpha", "optimizer.learning_rate",
                 "data.batch_size", "data.resolution", "data.trigger"}
OF_FINE_TUNE = {"method", "optimizer.name"}
"""What Fine-tune Model sets beside them."""


def later():
    return TrainSettingsNode.object_info()["input"]["optional"]


def defaults():
    inputs = {**TrainSettingsNode.object_info()["input"]["required"], **later()}
    return {name: options.get("default") for name, (_, options) in inputs.items()}


def test_every_setting_is_a_widget_here_or_in_train_lora():
    offered = {row.name for row in ROWS}
    assert offered | IN_TRAIN_LORA | OF_FINE_TUNE | BY_ITSELF == set(setting_names())
    assert not offered & IN_TRAIN_LORA and len(Widgets.__dataclass_fields__) == len(IN_TRAIN_LORA | OF_FINE_TUNE)


def test_untouched_widgets_change_nothing_of_a_preset():
    family = get_family("sdxl")
    values = read_widgets(defaults())
    assert preset_config(family, "style", values) == preset_config(family, "style")
    assert not {"precision", "save_every", "preview_every", "validate_every", "preview_prompts"} & set(values)


def test_what_is_chosen_is_set_by_its_dotted_name():
    values = TrainSettingsNode.execute(**defaults() | {
        "optimizer": "prodigy", "schedule": "cosine", "text_encoder": "on", "shuffle_captions": "off", "conv_rank": 0,
        "caption_dropout": 0.0, "preview_prompts": "a girl\n\n from side ", "save_every": 0})[0].values
    config = preset_config(get_family("sandbox"), "character", values)
    assert config.optimizer.name == "prodigy" and config.optimizer.schedule == "cosine"
    assert config.adapter.text_encoder is True and config.adapter.conv_rank == 0
    assert config.data.shuffle_captions is False and config.data.caption_dropout == 0
    assert config.preview_prompts == ("a girl", "from side") and values["save_every"] == 0


def test_every_least_and_most_value_is_one_that_the_config_takes():
    for name, (kind, options) in TrainSettingsNode.object_info()["input"]["required"].items():
        row = next(row for row in ROWS if row.id == name)
        for value in [options["min"], options["max"]] if kind in ("INT", "FLOAT") else options.get("options", []):
            values = read_widgets({name: value})
            if not values:
                assert value == row.left
                continue
            TrainConfig().replace(**values)


def test_a_widget_that_does_not_exist_is_not_swallowed():
    with pytest.raises(UserError, match="unknown settings: optimiser"):
        read_widgets({"optimiser": "adamw"})


def test_settings_that_came_later_are_not_asked_of_graphs_saved_before():
    assert list(later()) == ["masked_loss", "unmasked_weight", "masked_prior", "save_every_epochs", "edit_form",
                             "state_minutes", "compile", "fit_memory", "adapter", "rank_stabilized", "lokr_factor",
                             "block_ranks", "loss", "huber_delta", "huber_schedule", "noise_offset", "ip_noise_gamma",
                             "min_timestep", "max_timestep", "max_norm", "ema_decay", "set_aside_outliers",
                             "prior_loss_weight", "preservation_weight", "preservation_prompt", "preservation_every",
                             "beside_chance"]
    asked = {name: value for name, value in defaults().items() if name not in later()}
    widgets = {row.name: row.id for row in ROWS}
    assert TrainSettingsNode.execute(**asked)[0].values == {
        name: value for name, value in read_widgets(defaults()).items() if widgets[name] not in later()}


def test_the_decay_of_an_average_keeps_the_digits_that_are_typed():
    step = later()["ema_decay"][1]["step"]
    rounded = [round(value / step) * step for value in (0.999, 0.9999)]
    assert rounded == pytest.approx([0.999, 0.9999], abs=1e-6), "the front end rounds to the step's digits"


def test_a_kind_of_adapter_is_set_with_what_belongs_to_it():
    values = read_widgets(defaults() | {"adapter": "lokr", "lokr_factor": 8, "rank_stabilized": True,
                                        "block_ranks": "mid=8"})
    adapter = preset_config(get_family("sdxl"), "character", values).adapter
    assert (adapter.kind, adapter.lokr_factor, adapter.rank_stabilized, adapter.block_ranks) == (
        "lokr", 8, True, "mid=8")


def test_the_preservation_is_set_by_widgets_of_its_own():
    values = read_widgets(defaults() | {"preservation_weight": 0.5, "preservation_prompt": "1girl",
                                        "preservation_every": 4, "prior_loss_weight": 0.3, "beside_chance": 0.7})
    config = preset_config(get_family("sdxl"), "character", values)
    kept = config.preservation
    assert (kept.weight, kept.prompt, kept.every) == (0.5, "1girl", 4)
    assert (config.data.prior_loss_weight, config.beside_chance) == (0.3, 0.7)


def test_a_masked_loss_is_set_with_its_weights():
    values = read_widgets(defaults() | {"masked_loss": True, "unmasked_weight": 0.2, "masked_prior": 0.0})
    data = preset_config(get_family("sdxl"), "character", values).data
    assert (data.masked_loss, data.unmasked_weight, data.masked_prior) == (True, 0.2, 0.0)


def test_the_form_of_control_images_is_chosen_by_name_or_left_to_the_model():
    assert "data.edit_form" not in read_widgets(defaults())
    values = read_widgets(defaults() | {"edit_form": "qwen edit 2511"})
    assert preset_config(get_family("qwen_image"), "style", values).data.edit_form == "qwen edit 2511"
