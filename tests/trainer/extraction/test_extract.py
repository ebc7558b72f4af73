"""Extracting: against whole decompositions and kohya's formulas, what is skipped and said, and files that are refused.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress
from lora_bootstrap.trainer.extraction.extract import extract_lora, quantile
from lora_bootstrap.trainer.extraction.settings import ExtractSettings, preset_settings
from lora_bootstrap.trainer.extraction.sides import CheckpointFile, open_side
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.layers import read_header
from lora_bootstrap.trainer.lora.tensors import TensorFile

UNET = "model.diffusion_model."
BLOCK = "input_blocks.1.1.transformer_blocks.0"
SHAPES = {f"{BLOCK}.attn1.to_q": (40, 32), f"{BLOCK}.attn1.to_out.0": (32, 40), f"{BLOCK}.ff.net.2": (32, 128),
          "input_blocks.1.0.in_layers.2": (32, 24, 3, 3), "input_blocks.3.0.op": (24, 24, 1, 1)}
FLAT = {name: "lora_unet_" + name.replace(".", "_") for name in SHAPES}
CONV = "input_blocks.1.0.in_layers.2"
NORM, BIAS = f"{BLOCK}.norm1.weight", f"{BLOCK}.attn1.to_out.0.bias"


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def low_rank(shape, rank, seed=0):
    change = random(shape[0], rank, seed=seed) @ random(rank, torch.Size(shape[1:]).numel(), seed=seed + 1)
    return change.reshape(shape)


@pytest.fixture
def put(tmp_path):
    """A maker of checkpoints from weights by their path in the network."""

    def make(name, weights, prefix=UNET):
        path = tmp_path / f"{name}.safetensors"
        save_file({f"{prefix}{key}": value.contiguous() for key, value in weights.items()}, path)
        return path

    return make


@pytest.fixture
def pair(put):
    """(fine-tuned, base, difference by path): layers differ by rank 3, a norm and a bias by themselves."""
    base = {f"{name}.weight": random(*shape, seed=index) for index, (name, shape) in enumerate(SHAPES.items())}
    base |= {NORM: torch.ones(32), BIAS: torch.zeros(32)}
    changes = {f"{name}.weight": 0.1 * low_rank(shape, 3, 10 * index)
               for index, (name, shape) in enumerate(SHAPES.items())}
    changes |= {NORM: random(32, seed=5), BIAS: random(32, seed=6)}
    tuned = {key: value + changes[key] for key, value in base.items()}
    return put("tuned", tuned), put("base", base), {key: tuned[key] - base[key] for key in base}


def extract(tuned, base, folder, name="lora", **settings):
    values = {"dtype": "float32", "rank": 4} | settings
    *events, last = extract_lora(open_side(tuned), CheckpointFile(base) if base else None, folder, name,
                                 ExtractSettings(**values))
    assert all(isinstance(event, Progress) for event in events)
    return last


def changes_of(path):
    """The whole change of each layer of a file at strength 1."""
    return {key.removeprefix("diffusion_model."): value.up.flatten(1) @ value.down.flatten(1) * value.alpha / value.rank
            for key, value in load_lora(path).modules.items()}


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def test_a_rank_that_holds_all_gives_back_the_whole_difference(pair, tmp_path):
    tuned, base, wanted = pair
    last = extract(tuned, base, tmp_path / "out")
    found = changes_of(last.path)
    assert found.keys() == SHAPES.keys()
    for name, change in found.items():
        assert relative(change, wanted[f"{name}.weight"].flatten(1)) < 1e-5
    assert last.report.error < 1e-5
    assert {row.rank for row in last.report.rows} == {3}, "directions that hold nothing are not stored"


def test_biases_and_norms_are_stored_whole_under_the_hosts_names_or_left_out(pair, tmp_path):
    tuned, base, wanted = pair
    tensors = load_file(extract(tuned, base, tmp_path / "out").path)
    torch.testing.assert_close(tensors["lora_unet_input_blocks_1_1_transformer_blocks_0_norm1.diff"], wanted[NORM])
    torch.testing.assert_close(tensors[f"{FLAT[f'{BLOCK}.attn1.to_out.0']}.diff_b"], wanted[BIAS])
    without = load_file(extract(tuned, base, tmp_path / "out", "without", vectors=False).path)
    assert without.keys() == {key for key in tensors if ".diff" not in key}


def test_convolutions_have_a_rank_of_their_own_unless_their_kernel_is_one_pixel(pair, tmp_path):
    tuned, base, _ = pair
    last = extract(tuned, base, tmp_path / "out", rank=2, conv_rank=1)
    assert {row.key.removeprefix("diffusion_model."): row.rank for row in last.report.rows} == {
        name: 1 if name == CONV else 2 for name in SHAPES}
    tensors = load_file(last.path)
    assert tensors[f"{FLAT[CONV]}.lora_down.weight"].shape == (1, 24, 3, 3)
    assert tensors[f"{FLAT[CONV]}.lora_up.weight"].shape == (32, 1, 1, 1)


def kohya(difference, rank, share, both_signs=True):
    """A layer as sd-scripts' extract_lora_from_models has it: full decomposition, then one clamp for both factors. The
    quantile there depends on the signs that the decomposition gives; of both signs it does not."""
    u, sizes, vh = torch.linalg.svd(difference.flatten(1).float())
    u, vh = u[:, :rank] @ torch.diag(sizes[:rank]), vh[:rank]
    values = torch.cat([u.flatten(), vh.flatten()])
    most = torch.quantile(torch.cat([values, -values]) if both_signs else values, share)
    return u.clamp(-most, most) @ vh.clamp(-most, most)


@pytest.mark.parametrize("share", [0.9, 0.99, 1.0])
def test_a_clamp_gives_kohyas_factors_and_its_loss_is_in_the_report(pair, tmp_path, share):
    tuned, base, wanted = pair
    last = extract(tuned, base, tmp_path / "out", rank=2, clamp_quantile=share)
    errors = {row.key.removeprefix("diffusion_model."): row.error for row in last.report.rows}
    for name, found in changes_of(last.path).items():
        difference = wanted[f"{name}.weight"].flatten(1)
        if share < 1:
            assert relative(found, kohya(difference, 2, share)) < 1e-4
        else:
            _, sizes, _ = torch.linalg.svd(difference)
            assert errors[name] == pytest.approx(float(sizes[2:].norm() / sizes.norm()), rel=1e-3)
        assert errors[name] == pytest.approx(relative(found, difference), rel=1e-3)


def test_a_clamp_is_kohyas_own_where_signs_hardly_matter(put, tmp_path):
    key = f"{BLOCK}.ff.net.2"
    difference = low_rank((300, 400), 40)
    paths = put("tuned", {f"{key}.weight": difference}), put("base", {f"{key}.weight": torch.zeros(300, 400)})
    (found,) = changes_of(extract(*paths, tmp_path / "out", rank=32, clamp_quantile=0.99).path).values()
    (plain,) = changes_of(extract(*paths, tmp_path / "out", rank=32).path).values()
    wanted = kohya(difference, 32, 0.99, both_signs=False)
    assert (found - wanted).norm() < 0.05 * (plain - wanted).norm()


def test_a_quantile_is_torchs():
    values = random(1001)
    for share in (0.5, 0.9, 0.987, 1.0):
        assert float(quantile(values, share)) == pytest.approx(float(torch.quantile(values, share)), rel=1e-6)


def test_layers_below_the_least_difference_are_skipped_and_named(pair, tmp_path):
    tuned, base, wanted = pair
    largest = {name: float(wanted[f"{name}.weight"].abs().max()) for name in SHAPES}
    *_, second, most = sorted(largest.values())
    last = extract(tuned, base, tmp_path / "out", min_difference=(second + most) / 2)
    (row,) = last.report.rows
    assert row.key.removeprefix("diffusion_model.") == max(largest, key=largest.get)
    (note,) = last.report.notes[:1]
    assert note.startswith("Skipped, because no weight differs by more than") and "(4)" in note


def test_layers_that_are_equal_reshaped_or_on_one_side_only_are_counted_and_named(pair, put, tmp_path):
    tuned, base, _ = pair
    ours, theirs = ({key.removeprefix(UNET): value for key, value in load_file(path).items()}
                    for path in (tuned, base))
    same, wider, alone = (f"{name}.weight" for name in (f"{BLOCK}.attn1.to_q", "input_blocks.3.0.op", CONV))
    ours[same], theirs[wider] = theirs[same], random(24, 36, 1, 1)
    del theirs[alone]
    notes = extract(put("tuned", ours), put("base", theirs), tmp_path / "out").report.notes
    text = "\n".join(notes)
    for what, key in (("equal in both models", same), ("different shapes", wider), ("one of the models only", alone)):
        assert any(what in line and key in line for line in notes), text


def test_a_large_layer_is_decomposed_by_random_projection_with_the_same_result_each_time(put, tmp_path):
    base = {"middle_block.1.proj_in.weight": torch.zeros(300, 260)}
    noise = low_rank((300, 260), 4) + 0.3 * random(300, 260, seed=9)
    tuned = {key: noise for key in base}
    paths = [put("t", tuned), put("b", base)]
    torch.manual_seed(1)
    fast = extract(*paths, tmp_path / "a", rank=8)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = extract(*paths, tmp_path / "b", rank=8)
    exact = extract(*paths, tmp_path / "c", rank=8, exact=True)
    assert load_file(fast.path).keys() == load_file(again.path).keys()
    assert fast.path.read_bytes() == again.path.read_bytes() and torch.equal(before, torch.get_rng_state())
    assert exact.report.error <= fast.report.error < exact.report.error * (1 + 1e-3)
    assert fast.path.read_bytes() != exact.path.read_bytes(), "the one is not the other"


def test_energy_keeps_as_many_directions_as_hold_the_share(pair, tmp_path):
    tuned, base, wanted = pair
    last = extract(tuned, base, tmp_path / "out", rule="energy", target=0.8, rank=16)
    for row in last.report.rows:
        key = row.key.removeprefix("diffusion_model.") + ".weight"
        sizes = torch.linalg.svdvals(wanted[key].flatten(1).double())
        shares = sizes.square().cumsum(0) / sizes.square().sum()
        assert row.rank == int((shares < 0.8).sum()) + 1
        assert row.error == pytest.approx(float((1 - shares[row.rank - 1]).clamp_min(0).sqrt()), rel=1e-3,
                                             abs=1e-6)


def test_a_file_size_is_kept_to_and_spent_where_it_lowers_the_error_most(put, tmp_path):
    shapes = {f"middle_block.1.transformer_blocks.{index}.attn1.to_q.weight": (200, 200) for index in range(4)}
    base = {key: torch.zeros(shape) for key, shape in shapes.items()}
    tuned = {key: (0.1 + index) * low_rank(shape, 40, index) for index, (key, shape) in enumerate(shapes.items())}
    paths = put("tuned", tuned), put("base", base)
    fixed = extract(*paths, tmp_path / "out", "fixed", rank=8, dtype="float16")
    target = fixed.path.stat().st_size / 1e6
    spread = extract(*paths, tmp_path / "out", "size", rule="size", target=target, rank=64, dtype="float16")
    size = spread.path.stat().st_size / 1e6
    assert 0.8 * target < size <= target
    assert spread.report.error < 0.95 * fixed.report.error
    ranks = [row.rank for row in sorted(spread.report.rows, key=lambda row: row.key)]
    assert ranks == sorted(ranks) and ranks[0] < 8 < ranks[-1], "the layers that change most get most"
    with pytest.raises(UserError, match="has no room for a direction of any layer"):
        extract(*paths, tmp_path / "out", "none", rule="size", target=0.001)


def test_a_text_encoder_is_extracted_only_if_asked_and_open_clips_fused_layers_are_split(put, tmp_path):
    clip_l = "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    block = "conditioner.embedders.1.model.transformer.resblocks.0"
    base = {f"{UNET}{CONV}.weight": torch.zeros(8, 8, 3, 3), clip_l: torch.zeros(16, 16),
            f"{block}.attn.in_proj_weight": torch.zeros(24, 8), f"{block}.attn.in_proj_bias": torch.zeros(24),
            f"{block}.mlp.c_fc.weight": torch.zeros(16, 8), f"{block}.ln_1.weight": torch.zeros(8)}
    tuned = {key: low_rank(value.shape, 2, 3 * index) if value.ndim > 1 else random(*value.shape)
             for index, (key, value) in enumerate(base.items())}
    paths = put("tuned", tuned, ""), put("base", base, "")
    plain = extract(*paths, tmp_path / "out")
    assert [row.key for row in plain.report.rows] == [f"diffusion_model.{CONV}"]
    tensors = load_file(extract(*paths, tmp_path / "out", "text", text_encoder=True).path)
    fused = tuned[f"{block}.attn.in_proj_weight"].chunk(3)
    for name, part, bias in zip("qkv", fused, tuned[f"{block}.attn.in_proj_bias"].chunk(3), strict=True):
        layer = f"lora_te2_text_model_encoder_layers_0_self_attn_{name}_proj"
        found = tensors[f"{layer}.lora_up.weight"] @ tensors[f"{layer}.lora_down.weight"]
        scale = tensors[f"{layer}.alpha"] / len(tensors[f"{layer}.lora_down.weight"])
        assert relative(found * scale, part) < 1e-5
        torch.testing.assert_close(tensors[f"{layer}.diff_b"], bias)
    assert "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight" in tensors
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight" in tensors
    assert "text_encoders.clip_g.transformer.text_model.encoder.layers.0.layer_norm1.diff" in tensors


def test_a_file_of_whole_differences_needs_no_base(pair, tmp_path):
    """As a fine-tune saves it, and ComfyUI's Extract and Save Lora."""
    *_, wanted = pair
    endings = {"weight": "diff", "bias": "diff_b"}
    path = tmp_path / "run.diff.safetensors"
    save_file({"lora_unet_{}.{}".format(module.replace(".", "_"), endings[last]): value
               for key, value in wanted.items() for module, _, last in (key.rpartition("."),)}, path)
    last = extract(path, None, tmp_path / "out")
    assert last.report.error < 1e-5 and len(last.report.rows) == len(SHAPES)
    tensors = load_file(last.path)
    assert {f"{name}.lora_up.weight" for name in FLAT.values()} < tensors.keys()
    torch.testing.assert_close(tensors["lora_unet_input_blocks_1_1_transformer_blocks_0_norm1.diff"], wanted[NORM])


def test_weights_in_eight_bits_are_read_with_their_scale_and_packed_ones_are_refused(put, tmp_path):
    key = f"{BLOCK}.attn1.to_q"
    base = put("base", {f"{key}.weight": torch.zeros(32, 32)})
    weight = low_rank((32, 32), 2).clamp(-8, 8)
    scaled = put("scaled", {f"{key}.weight": (weight / 2).to(torch.float8_e4m3fn),
                            f"{key}.scale_weight": torch.tensor(2.0)})
    last = extract(scaled, base, tmp_path / "out", rank=32)
    (found,) = changes_of(last.path).values()
    assert relative(found, weight) < 0.05
    packed = put("packed", {f"{key}.weight": torch.ones(32, 32, dtype=torch.int8)})
    with pytest.raises(UserError, match=f"{key}.weight of packed.safetensors is packed as I8, and cannot be compared"):
        extract(packed, base, tmp_path / "out")


def test_the_file_says_what_it_is_and_where_it_comes_from_without_a_path(pair, tmp_path):
    tuned, base, _ = pair
    path = extract(tuned, base, tmp_path / "out", rank=2, conv_rank=3).path
    metadata = TensorFile(path).metadata
    assert metadata["ss_network_module"] == "networks.lora" and metadata["ss_network_dim"] == "2"
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": 3, "conv_alpha": 3}
    lineage = json.loads(metadata["lora_bootstrap.lineage"])["extract"]
    assert (lineage["tuned"], lineage["base"], lineage["rank"]) == ("tuned.safetensors", "base.safetensors", 2)
    assert str(tmp_path) not in json.dumps(metadata)
    assert read_header(path).facts()["ranks"] == [2, 3]


def test_the_base_of_stable_diffusion_is_told_by_its_shapes(put, tmp_path):
    cross, label = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", "label_emb.0.0.weight"
    for weights, version in (({cross: (32, 2048), label: (8, 2816)}, "sdxl_base_v1-0"), ({cross: (32, 768)}, "sd_v1"),
                             ({cross: (32, 1024)}, None)):
        tuned, base = (put(name, {key: random(*shape, seed=seed) for key, shape in weights.items()})
                       for seed, name in enumerate(("tuned", "base")))
        found = TensorFile(extract(tuned, base, tmp_path / f"{version}").path).metadata
        assert found.get("ss_base_model_version") == version


def test_the_same_extraction_is_written_once_and_another_takes_the_next_name(pair, tmp_path):
    tuned, base, _ = pair
    first = extract(tuned, base, tmp_path / "out")
    assert extract(tuned, base, tmp_path / "out").path == first.path
    kept = first.path.read_bytes()
    assert extract(tuned, base, tmp_path / "out", rank=1).path.name == "lora-2.safetensors"
    assert first.path.read_bytes() == kept


def test_an_extraction_that_is_cancelled_leaves_no_file(pair, tmp_path):
    tuned, base, _ = pair
    events = extract_lora(CheckpointFile(tuned), CheckpointFile(base), tmp_path / "out", "lora", ExtractSettings())
    next(events)
    events.close()
    assert not list((tmp_path / "out").glob("*"))


def test_what_cannot_be_extracted_is_one_line(pair, put, tmp_path):
    tuned, base, _ = pair
    broken = put("broken", {f"{CONV}.weight": torch.full(SHAPES[CONV], torch.nan)})
    other = put("other", {"double_blocks.0.img_attn.qkv.weight": torch.ones(4, 4)})
    pickle, short = tmp_path / "pickle.safetensors", tmp_path / "short.safetensors"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    short.write_bytes(tuned.read_bytes()[:-50])
    lora = extract(tuned, base, tmp_path / "out", vectors=False).path
    for first, second, words in ((tuned, tuned, "no layer of tuned.safetensors differs from the base, so"),
                                 (tuned, other, "have no layer in common"),
                                 (broken, base, "weights that are not numbers"),
                                 (pickle, base, "a pickle, which can run code and is never opened"),
                                 (short, base, "not a complete safetensors file"),
                                 (lora, base, "is a LoRA already"),
                                 (tmp_path / "gone", base, "checkpoint file .* does not exist")):
        with pytest.raises(UserError, match=words):
            extract(first, second, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    with pytest.raises(UserError, match="'../x'"):
        extract(tuned, base, tmp_path / "refused", "../x")


@pytest.mark.parametrize(("values", "words"), [
    ({"rank": 0}, "rank is 0"), ({"conv_rank": -1}, "conv_rank is -1"), ({"rule": "best"}, "unknown rule 'best'"),
    ({"rule": "cumulative"}, "unknown rule of an extraction"), ({"dtype": "float8"}, "unknown dtype"),
    ({"rule": "energy", "target": 1.5}, "target of rule energy is 1.5"), ({"clamp_quantile": 0.1}, "clamp_quantile is"),
    ({"min_difference": -1.0}, "min_difference is -1.0"), ({"rule": "size", "target": float("nan")}, "is nan")])
def test_a_setting_out_of_range_is_refused_with_what_is_valid(values, words):
    with pytest.raises(UserError, match=words):
        ExtractSettings(**values)


def test_the_guides_preset_takes_the_place_of_the_values_given():
    found = preset_settings("kohya guide", rank=8, dtype="float32")
    assert (found.rank, found.conv_rank, found.clamp_quantile, found.min_difference, found.dtype) == (
        64, 64, 0.99, 1e-4, "float32")
    assert preset_settings("own values", rank=8).clamp_quantile == 1, "nothing is clamped unless asked"
    with pytest.raises(UserError, match="unknown preset 'x'"):
        preset_settings("x")
