"""Configurations of other trainers, as those write them, become ours; what does not map is named with the reason."""

import json

import pytest

from lora_bootstrap.trainer.cli.main import main
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.imports import ai_toolkit, kohya, onetrainer
from lora_bootstrap.trainer.imports.mapping import DIFFERS, LEFT, Row, Table, described, translate
from lora_bootstrap.trainer.imports.reading import MOST_BYTES, import_config, read_settings
from lora_bootstrap.trainer.training.config import TrainConfig

KOHYA = """
pretrained_model_name_or_path = "/models/sd_xl_base_1.0.safetensors"
[network_arguments]
network_module = "networks.lora"
network_dim = 32
network_args = [ "conv_dim=8", "conv_alpha=4",]
network_train_unet_only = true
[optimizer_arguments]
learning_rate = 0.0001
unet_lr = 0.0003
optimizer_type = "AdamW8bit"
optimizer_args = [ "weight_decay=0.1", "betas=0.9,0.99",]
lr_scheduler = "cosine_with_restarts"
lr_scheduler_num_cycles = 3
lr_warmup_steps = 0.1
[training_arguments]
output_name = "akane"
max_train_steps = 1200
train_batch_size = 2
gradient_accumulation_steps = 4
mixed_precision = "bf16"
min_snr_gamma = 5
noise_offset = 0.0
multires_noise_iterations = 6
xformers = true
some_new_option = 1
"""
DATASET = """
[general]
enable_bucket = true
caption_extension = ".txt"
shuffle_caption = true
keep_tokens = 2
[[datasets]]
resolution = [ 768, 1024,]
batch_size = 3
  [[datasets.subsets]]
  image_dir = "/data/akane"
  num_repeats = 10
  flip_aug = true
  [[datasets.subsets]]
  image_dir = "/data/more"
  [[datasets.subsets]]
  image_dir = "/data/girls"
  is_reg = true
"""
ONETRAINER = {
    "__version": 6, "training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE",
    "base_model_name": "/models/base", "learning_rate": 1e-4, "learning_rate_scaler": "BOTH", "batch_size": 4,
    "gradient_accumulation_steps": 4, "learning_rate_scheduler": "COSINE", "learning_rate_warmup_steps": 50.0,
    "epochs": 20, "train_dtype": "BFLOAT_16", "resolution": "768", "lora_rank": 8, "lora_alpha": 4.0,
    "layer_filter_preset": "attn-only", "gradient_checkpointing": "CPU_OFFLOADED", "loss_weight_fn": "MIN_SNR_GAMMA",
    "loss_weight_strength": 3.0, "timestep_distribution": "LOGIT_NORMAL", "noising_bias": 0.5, "save_every": 2,
    "save_every_unit": "EPOCH", "sample_after": 10, "sample_after_unit": "MINUTE", "masked_training": True,
    "unet": {"learning_rate": 2e-4, "weight_dtype": "FLOAT_16"}, "text_encoder": {"train": False},
    "optimizer": {"optimizer": "ADAMW_8BIT", "weight_decay": 0.02, "beta1": 0.9},
    "peft_type": "LOHA", "lora_decompose": True, "mse_strength": 0.0, "huber_strength": 1.0,
    "concepts": [{"enabled": False, "path": "/off"}, {"path": "/data/held", "type": "VALIDATION"}, {
        "path": "/data/akane", "balancing": 10.0, "image": {"enable_random_flip": True}, "text": {
            "enable_tag_shuffling": True, "keep_tags_count": 2, "tag_dropout_enable": True,
            "tag_dropout_mode": "RANDOM", "tag_dropout_probability": 0.2}}],
}
AI_TOOLKIT = """
job: extension
config:
  name: my_lora
  process:
    - type: sd_trainer
      trigger_word: p3r5on
      network: {type: lokr, linear: 16, linear_alpha: 8, lokr_full_rank: true, lokr_factor: 8}
      save: {dtype: float16, save_every: 250}
      datasets:
        - folder_path: /data/men
          is_reg: true
        - folder_path: /data/akane
          is_reg: false
          caption_ext: txt
          caption_dropout_rate: 0.05
          resolution: [ 512, 768 ]
      train:
        batch_size: 1
        steps: 2000
        gradient_accumulation_steps: 4
        optimizer: adamw8bit
        lr: 1e-4
        timestep_type: weighted
        min_denoising_steps: 100
        max_denoising_steps: 1000
        diff_output_preservation: true
        diff_output_preservation_class: person
        diff_output_preservation_multiplier: 0.5
        content_or_style: balanced
        dtype: bf16
      model: {name_or_path: black-forest-labs/FLUX.1-dev, is_flux: true, quantize: true}
      sample:
        sample_every: 250
        prompts: ["[trigger] playing chess"]
"""


def written(folder, name, text):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def line(imported, name):
    (found,) = [line for line in imported.lines if line.theirs == name]
    return found


def values(imported, *names):
    return [imported.settings.get(name) for name in names]


def test_a_kohya_training_with_its_dataset(tmp_path):
    found = import_config(written(tmp_path, "train.toml", KOHYA), written(tmp_path, "data.toml", DATASET))
    TrainConfig().replace(**found.settings)
    assert values(found, "name", "adapter.rank", "adapter.alpha", "adapter.conv_rank", "adapter.text_encoder") == [
        "akane", 32, 1.0, 8, False], "an alpha that is not given is 1 there"
    assert line(found, "network_alpha").assumed
    assert values(found, "optimizer.learning_rate", "optimizer.name", "optimizer.weight_decay", "optimizer.cycles",
                  "optimizer.warmup_steps") == [3e-4, "adamw8bit", 0.1, 3, 120], "a share of 1200 steps"
    assert values(found, "steps", "data.batch_size", "accumulation_steps", "precision") == [1200, 3, 4, "bf16"]
    assert values(found, "objective.weighting", "objective.min_snr_gamma") == ["min_snr", 5.0]
    assert values(found, "data.resolution", "data.shuffle_captions", "data.keep_tokens", "data.upscale") == [
        887, True, 2, True], "the side of a square as large as 768 x 1024"
    assert (found.base, found.datasets) == ("/models/sd_xl_base_1.0.safetensors", ("/data/akane", "/data/more"))
    assert line(found, "flip_aug").kind == DIFFERS and "between the 2 subsets" in line(found, "flip_aug").note
    assert found.regularisation == ("/data/girls",)
    for name, reason in (("multires_noise_iterations", "one resolution"), ("num_repeats", "10_name"),
                         ("optimizer_args.betas", "usual arguments"), ("is_reg", "regularisation"),
                         ("some_new_option", "does not know it")):
        assert line(found, name).kind == LEFT and reason in line(found, name).note
    assert not any("noise_offset" in name for name in found.settings), "0 turns it off"


LYCORIS = """
network_module = "lycoris.kohya"
network_dim = 16
network_alpha = 8
network_args = [ "algo=lokr", "factor=8", "preset=attn-mlp", "rs_lora=True", "dora_wd=True", "block_dims=4,4",]
optimizer_type = "schedulefree.AdamWScheduleFree"
lr_scheduler = "cosine"
lr_warmup_steps = 100
full_bf16 = true
max_train_epochs = 10
scale_weight_norms = 1.0
loss_type = "huber"
huber_c = 0.2
noise_offset = 0.05
min_timestep = 200
max_timestep = 900
train_data_dir = "/data/akane"
reg_data_dir = "/data/girls"
prior_loss_weight = 0.5
"""


def test_a_lycoris_training_of_kohya_with_regularisation_images(tmp_path):
    found = import_config(written(tmp_path, "train.toml", LYCORIS))
    TrainConfig().replace(**found.settings)
    assert values(found, "adapter.kind", "adapter.lokr_factor", "adapter.layers", "adapter.rank_stabilized") == [
        "lokr", 8, "attention+mlp", True]
    assert "only a LoRA can be a DoRA" in line(found, "network_args.dora_wd").note
    assert "block_ranks" in line(found, "network_args.block_dims").note
    assert values(found, "optimizer.name", "optimizer.schedule", "optimizer.warmup_steps") == [
        "adamw_schedule_free", "constant", 0], "it takes no schedule there"
    assert line(found, "full_bf16").kind == LEFT, "it does not replace the optimizer"
    assert "max_norm is 1.0; it must be 0" in line(found, "scale_weight_norms").note, "and the others stay"
    assert values(found, "objective.loss", "objective.huber_delta", "objective.huber_schedule") == ["huber", 0.2, "snr"]
    assert line(found, "huber_schedule").assumed
    assert values(found, "objective.noise_offset", "objective.min_timestep", "objective.max_timestep") == [
        0.05, 0.2, 0.9]
    assert values(found, "data.prior_loss_weight") == [0.5] and found.regularisation == ("/data/girls",)


@pytest.mark.parametrize(("lines", "expected"), [
    ('network_module = "lycoris.kohya"\nnetwork_args = ["algo=lora", "dora_wd=True"]', {"adapter.kind": "dora"}),
    ('optimizer_type = "pytorch_optimizer.CAME"', {"optimizer.name": "came"}),
    ('optimizer_type = "AdamW"\nfull_bf16 = true', {"optimizer.name": "adamw_bf16"}),
    ('optimizer_type = "Prodigy"\nfull_bf16 = true', {"optimizer.name": "prodigy"}),
    ('lr_scheduler = "polynomial"', {"optimizer.schedule": "linear"}),
    ('lr_scheduler = "polynomial"\nlr_scheduler_power = 2', {"optimizer.schedule": "polynomial"}),
    ("loss_type = 'l2'", {"objective.huber_schedule": None}),
])
def test_options_of_kohya_that_depend_on_others(tmp_path, lines, expected):
    found = import_config(written(tmp_path, "train.toml", lines))
    assert {name: found.settings.get(name) for name in expected} == expected


def test_a_command_line_says_the_same_as_a_toml(tmp_path):
    command = written(tmp_path, "train.sh", r"""
# my training
accelerate launch --num_cpu_threads_per_process 1 sdxl_train_network.py \
  --network_module networks.lora --network_dim=32 --network_args "conv_dim=8" "conv_alpha=4" ^
  --output_name "akane" --train_data_dir C:\data\akane --max_train_epochs 10 --text_encoder_lr 5e-5 1e-5 `
  --network_train_unet_only --learning_rate 1e-4
""")
    found = import_config(command)
    assert values(found, "adapter.rank", "adapter.conv_rank", "epochs", "steps", "optimizer.learning_rate") == [
        32, 8, 10, None, 1e-4]
    assert "share one rate" in line(found, "text_encoder_lr").note and found.datasets == (r"C:\data\akane",)
    assert line(found, "caption_extension").kind == LEFT, "sd-scripts reads .caption files unless told otherwise"


def test_a_dataset_config_alone_sets_no_training(tmp_path):
    found = import_config(written(tmp_path, "data.toml", DATASET))
    assert values(found, "data.batch_size", "steps", "optimizer.learning_rate") == [3, None, None]


def test_a_onetrainer_config(tmp_path):
    found = import_config(written(tmp_path, "config.json", ONETRAINER))
    TrainConfig().replace(**found.settings)
    assert values(found, "optimizer.learning_rate", "optimizer.text_encoder_learning_rate") == [8e-4, 4e-4], (
        "times the root of 4 x 4")
    assert values(found, "adapter.rank", "adapter.alpha", "adapter.layers", "adapter.text_encoder") == [
        8, 4.0, "attention", False]
    assert values(found, "optimizer.name", "optimizer.schedule", "optimizer.warmup_steps", "epochs") == [
        "adamw8bit", "cosine", 50, 20]
    assert values(found, "gradient_checkpointing", "save_every_epochs", "preview_every", "data.masked_loss") == [
        True, 2, None, True]
    assert values(found, "objective.min_snr_gamma", "data.tag_dropout", "data.keep_tokens", "data.flip") == [
        3.0, 0.2, 2, True]
    assert "no weight and no bias" in line(found, "timestep_distribution").note
    assert "MINUTE" in line(found, "sample_after").note and line(found, "model_type").kind == LEFT
    assert found.datasets == ("/data/akane",), "a concept that is off is not trained, and one for validation neither"
    assert "validation_fraction" in line(found, "concepts.type").note
    assert values(found, "objective.loss", "objective.huber_delta", "objective.huber_schedule") == [
        "huber", 1.0, "constant"]
    assert values(found, "adapter.kind") == ["loha"], "lora_decompose is for LoRAs"


def test_a_preset_of_onetrainer_is_completed_by_its_defaults(tmp_path):
    found = import_config(written(tmp_path, "preset.json", {"training_method": "LORA", "learning_rate": 3e-4}))
    assert values(found, "adapter.rank", "adapter.alpha", "epochs", "optimizer.warmup_steps", "precision") == [
        16, 1.0, 100, 200, "fp16"]
    assert line(found, "epochs").assumed and not line(found, "learning_rate").assumed


def test_an_ai_toolkit_job(tmp_path):
    found = import_config(written(tmp_path, "job.yaml", AI_TOOLKIT))
    TrainConfig().replace(**found.settings)
    assert values(found, "name", "data.trigger", "adapter.rank", "adapter.alpha", "optimizer.learning_rate") == [
        "my_lora", "p3r5on", 16, 8.0, 1e-4], "YAML reads 1e-4 as a text"
    assert values(found, "steps", "accumulation_steps") == [500, 4], "a step there is one batch"
    assert values(found, "data.resolution", "data.caption_dropout", "preview_prompts") == [
        768, 0.05, ["p3r5on playing chess"]]
    assert line(found, "datasets.resolution").kind == DIFFERS
    assert line(found, "train.timestep_type").kind == line(found, "train.content_or_style").kind == LEFT
    assert found.base == "black-forest-labs/FLUX.1-dev"
    assert values(found, "adapter.kind", "adapter.lokr_factor", "preservation.weight") == ["lokr", 8, 0.5]
    assert values(found, "objective.min_timestep", "objective.max_timestep") == [None, 0.9], "0 is pure noise there"
    assert (found.datasets, found.regularisation) == (("/data/akane",), ("/data/men",))


def test_every_row_leads_to_a_setting_or_says_that_it_is_not_here():
    for table in (kohya.TABLE, onetrainer.TABLE, ai_toolkit.TABLE):
        names = [row.theirs for row in table.rows]
        assert len(names) == len(set(names)) and not set(names) & set(table.left)
    table = Table("a tool", (Row("a", "adapter.rank"), Row("b", "no.such"), Row("c", "adapter.rank")), {})
    found = translate(table, {"a": 4, "b": 1, "c": -5, "d": None})
    assert found.settings == {"adapter.rank": 4}
    assert line(found, "b").note == "no.such is not a setting here"
    assert "from 1 to 1024" in line(found, "c").note and "does not know it" in line(found, "d").note
    assert "  a = 4 → adapter.rank = 4" in list(described(found))


@pytest.mark.parametrize(("name", "text", "words"), [
    ("a.json", "{", "cannot be read as JSON"), ("a.json", "[1]", "holds no settings"),
    ("a.json", {"LoRA_type": "Standard"}, "config_lora-"), ("a.json", {"a": 1}, "not a configuration"),
    ("a.toml", "= 1", "cannot be read as TOML"), ("a.toml", "a = 1", "no setting of kohya"),
    ("a.yaml", "a: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
    ("a.yaml", "config: &a\n  process: [&b {x: *a}]", "more than 100000 values"),
    ("a.yaml", "a: &a [1, 2, 3, 4]\n" + "\n".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)), "more than"),
    ("a.json", '{"a":' * 90 + "1" + "}" * 90, "deep"),
    ("a.json", "[" * 100_000, "cannot be read as JSON"), ("a.txt", '--a "', "cannot be read as a command line"),
    ("a.toml", "#" * (MOST_BYTES + 1), "at most"), ("a.txt", "hello", "no setting of kohya"),
    ("a.json", {"training_method": "LORA", "optimizer": {str(n): n for n in range(6000)}}, "at most 5000"),
])
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path, name, text, words):
    with pytest.raises(UserError, match=words) as refused:
        import_config(written(tmp_path, name, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("values", [
    {"training_method": 7, "lora_rank": [], "lora_alpha": {}, "learning_rate": "x", "epochs": True, "resolution": None,
     "optimizer": 3, "concepts": [1, {"path": 5, "text": 2}], "timestep_shift": [], "ema": {}, "noising_bias": "?"},
    {"config": {"name": 5, "process": [{"train": {"lr": [], "steps": "many"}, "datasets": [7], "sample": {
        "prompts": 3}, "network": 9}]}},
    {"config": {"process": [{"datasets": {"a": 1}}]}}, {"config": {"process": []}},
])
def test_values_of_wrong_kinds_are_left_out_one_by_one(tmp_path, values):
    found = import_config(written(tmp_path, "a.json", values))
    TrainConfig().replace(**found.settings)


def test_the_settings_are_saved_for_a_training(tmp_path, capsys):
    path, saved = written(tmp_path, "job.yaml", AI_TOOLKIT), tmp_path / "ours.json"
    assert main(["import-config", str(path), "--save", str(saved), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert read_settings(saved) == printed["settings"] and printed["tool"] == "ai-toolkit"
    assert printed["regularisation"] == ["/data/men"]
    tuned = written(tmp_path, "tuned.json", {"training_method": "FINE_TUNE", "concepts": [{"path": "/data/my girl"}]})
    assert main(["import-config", str(tuned)]) == 0
    assert 'lora-bootstrap finetune --config FILE --dataset "/data/my girl" --base MODEL' in capsys.readouterr().out
    nested = written(tmp_path, "nested.toml", "steps = 5\n[adapter]\nrank = 3\n")
    assert read_settings(nested) == {"steps": 5, "adapter.rank": 3}
