"""Merging: every method against whole matrices and its stated aim, the error it states, names, lineage, bad input."""

import json
import math

import pytest
import torch
from peft.utils.merge_utils import ties
from safetensors.torch import load_file
from torch import nn

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import file_hash
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.layers import LayerDelta, energy
from lora_bootstrap.trainer.stacks.layer_stack import open_stack
from lora_bootstrap.trainer.stacks.merge import (
    METHODS,
    MergeSettings,
    compress,
    elect,
    give_way,
    merge_loras,
    nearest,
    save_merged,
)
from lora_bootstrap.trainer.stacks.overlap import measure_overlap, read_change
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.training.adapters import use_lora

from ...helpers.lora_files import (
    BAD,
    IN,
    LAYERS,
    OUT,
    change,
    close,
    kinds,
    kohya,
    loha,
    lora,
    plain,
    random,
    rows_of,
    write,
)

CONTENT = "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
STYLE = "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"
DEEP = "up_blocks.0.attentions.2.transformer_blocks.9.attn1.to_q"
"""A layer that only SDXL has."""
TEXT = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


def product(factors):
    return (factors.up.flatten(1).double() @ factors.down.flatten(1).double()) * factors.alpha / factors.rank


def dense(path):
    """The whole change of each layer of a file at strength 1, by the file's own reader."""
    return {key: product(value) for key, value in load_lora(path).modules.items()}


def whole(merged):
    return {key: product(value) for key, value in merged.lora.modules.items()}


def stack(*paths, strengths=(0.8, -0.6), roles=("character", "style")):
    return [StackEntry(path=path, strength=value, role=role)
            for path, value, role in zip(paths, strengths, roles, strict=True)]


def same(found, expected, tolerance=1e-6):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


@pytest.fixture
def two(tmp_path):
    """A character and a style of SDXL with blocks of every role, and a text encoder's layer."""
    layers = (*LAYERS, CONTENT, STYLE, DEEP)
    paths, common = [], random(6, IN, seed=77).float()
    for name, seed, rank in (("hero", 1, 4), ("ink", 200, 6)):
        rows = {kohya(layer): plain(rank, seed + 10 * index) for index, layer in enumerate(layers)}
        for index, row in enumerate(rows.values()):  # from nothing in common to nearly all
            row["lora_down.weight"] += 0.4 * index * common[:rank]
        paths.append(write(tmp_path / f"{name}.safetensors", {**rows, TEXT: plain(rank, seed + 90)},
                           {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.trigger_phrase": name}))
    return paths


# -- the plain sum -----------------------------------------------------------------------------------------------------


def test_the_sum_is_the_sum_of_the_whole_matrices_and_ranks_add(two):
    merged = merge_loras(stack(*two))
    first, second = map(dense, two)
    assert merged.lora.modules.keys() == first.keys() and merged.error == 0
    for key, found in whole(merged).items():
        same(found, 0.8 * first[key] - 0.6 * second[key])
        assert merged.lora.modules[key].rank == 10


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down_blocks = nn.ModuleList([nn.Linear(6, 8), nn.Conv2d(3, 5, 3, padding=1)])

    def forward(self, x, image):
        return torch.cat([self.down_blocks[0](x).flatten(), self.down_blocks[1](image).flatten()])


def test_the_sum_draws_what_both_files_draw_one_after_the_other(tmp_path):
    paths = []
    for seed, rank in ((0, 2), (40, 3)):
        conv = {"lora_up.weight": random(5, rank, 1, 1, seed=seed).float(), "alpha": torch.tensor(1.0),
                "lora_down.weight": random(rank, 3, 3, 3, seed=seed + 1).float()}
        paths.append(write(tmp_path / f"{seed}.safetensors", {
            kohya("down_blocks.0"): plain(rank, seed + 2, 8, 6), kohya("down_blocks.1"): conv}))
    save_merged(tmp_path / "both.safetensors", merge_loras(stack(*paths)))
    net, x, image = Net(), torch.randn(4, 6), torch.randn(1, 3, 7, 7)
    base = net(x, image)
    with use_lora({"unet": net}, load_lora(paths[0]), 0.8), use_lora({"unet": net}, load_lora(paths[1]), -0.6):
        expected = net(x, image)
    with use_lora({"unet": net}, load_lora(tmp_path / "both.safetensors")) as applied:
        found = net(x, image)
    assert applied.unmatched == () or applied.unmatched == []
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (expected - base).abs().max() > 0.1


def test_what_only_one_file_has_goes_in_at_its_strength(tmp_path):
    first, second = lora(tmp_path / "a.safetensors", 1, LAYERS[:2]), lora(tmp_path / "b.safetensors", 50, LAYERS[1:])
    for method in ("sum", "null_space"):
        found = whole(merge_loras(stack(first, second), MergeSettings(method=method)))
        same(found[f"unet.{LAYERS[0]}"], 0.8 * dense(first)[f"unet.{LAYERS[0]}"])
        same(found[f"unet.{LAYERS[2]}"], -0.6 * dense(second)[f"unet.{LAYERS[2]}"])


def test_text_encoders_are_merged_at_their_own_strength(two):
    entries = [StackEntry(path=two[0], clip_strength=0.5), StackEntry(path=two[1], clip_strength=0)]
    key = next(key for key in dense(two[0]) if key.startswith("text_encoder."))
    same(whole(merge_loras(entries))[key], 0.5 * dense(two[0])[key])


def test_three_files_and_more_add_up_in_any_order(tmp_path):
    paths = [lora(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 50, 99)]
    entries = [StackEntry(path=path, strength=0.1 * index) for index, path in enumerate(paths, 1)]
    there, back = whole(merge_loras(entries)), whole(merge_loras(entries[::-1]))
    for key in there:
        same(there[key], back[key])
        same(there[key], sum(0.1 * index * dense(path)[key] for index, path in enumerate(paths, 1)))


# -- the soft null space -----------------------------------------------------------------------------------------------


def test_giving_way_makes_its_aim_least():
    mine, other, m = change(4, 0), read_change(change(6, 50)), 0.5
    found, basis = give_way(mine, other, m / (1 + m)).dense(), rows_of(other.change.dense())

    def aim(x):
        return ((x - mine.dense()).square().sum() + m * (x @ basis).square().sum()).item()

    least = aim(found)
    for seed in range(20):
        for size in (1e-3, 1.0):
            assert aim(found + size * random(OUT, IN, seed=seed)) > least
    same(found, mine.dense() - m / (1 + m) * mine.dense() @ basis @ basis.T)


def shares(two, preset, **options):
    """By layer: how far character and style went (0 nowhere, 1 all the way) along the other's directions."""
    merged = whole(merge_loras(stack(*two, strengths=(1, 1)), MergeSettings(method="null_space", preset=preset,
                                                                           **options)))
    found = {}
    with open_stack(two) as files:
        for name in files.names:
            hero, ink = files.deltas(name)
            pulls = [one.dense() @ rows_of(other.dense()) @ rows_of(other.dense()).T
                     for one, other in ((hero, ink), (ink, hero))]
            moved = hero.dense() + ink.dense() - merged[files.key(name)]
            basis = torch.stack([pull.flatten() for pull in pulls], 1)
            solved = torch.linalg.lstsq(basis, moved.flatten()[:, None])
            assert (basis @ solved.solution - moved.flatten()[:, None]).abs().max() < 1e-5
            found[name.partition(".")[2]] = tuple(solved.solution.flatten().tolist())
    return found


def weight(two, layer):
    with open_stack(two) as files:
        found = measure_overlap(*map(read_change, files.deltas(f"denoiser.{layer}")))
    return min(1.0, max(0.0, (found.kappa - found.chance) / (0.5 - found.chance)))


def test_style_first_takes_a_third_of_what_the_character_has_on_the_styles_inputs_and_leaves_the_style(two):
    for layer, found in shares(two, "style_first").items():
        expected = (0, 0) if "text_model" in layer else (1 / 3, 0)
        assert found == pytest.approx(expected, abs=1e-5)


def test_balanced_gives_way_by_the_role_of_the_block_and_the_size_of_the_conflict(two):
    found = shares(two, "balanced")
    by_role = {**dict.fromkeys((*LAYERS, DEEP), (0.2, 0.1)), CONTENT: (0, 1 / 3), STYLE: (1 / 3, 0)}
    for layer, (hero, ink) in by_role.items():
        factor = weight(two, layer)
        assert found[layer] == pytest.approx((factor * hero, factor * ink), abs=1e-5)
    weights = [weight(two, layer) for layer in (*LAYERS, CONTENT, STYLE, DEEP)]
    assert sum(0.05 < value < 0.95 for value in weights) > 1


def test_identity_first_weakens_the_style_alone_not_in_style_blocks_and_warns(two):
    found = shares(two, "identity_first")
    assert found[STYLE] == pytest.approx((0, 0), abs=1e-5)
    assert found[LAYERS[0]] == pytest.approx((0, weight(two, LAYERS[0]) / 3), abs=1e-5)
    notes = merge_loras(stack(*two), MergeSettings(method="null_space", preset="identity_first")).notes
    assert "weakens the style" in notes[0]


def test_a_users_own_roles_come_before_the_known_ones(two):
    roles = {"up_blocks.0.attentions.0": "style", "nowhere.7": "content"}
    found = shares(two, "balanced", roles=roles)[CONTENT]
    assert found[1] == pytest.approx(0, abs=1e-5)
    notes = merge_loras(stack(*two), MergeSettings(method="null_space", roles=roles)).notes
    assert any("The roles name nowhere.7, but no layer" in note for note in notes)


def test_the_order_of_the_files_does_not_matter_where_the_character_is_marked(two):
    settings = MergeSettings(method="null_space", preset="style_first")
    there, back = (whole(merge_loras(entries, settings)) for entries in (stack(*two), stack(*two)[::-1]))
    for key in there:
        same(there[key], back[key])


def test_ranks_only_add_and_mu_zero_is_the_sum(two):
    plain_sum, none = (merge_loras(stack(*two), settings) for settings in (
        None, MergeSettings(method="null_space", preset="style_first", mu=0)))
    moved = merge_loras(stack(*two), MergeSettings(method="null_space"))
    assert [row.rank for row in moved.layers] == [row.rank for row in plain_sum.layers] == [10] * 7
    for key, found in whole(none).items():
        same(found, whole(plain_sum)[key])


def test_much_mu_takes_all_of_the_character_off_the_styles_inputs(two):
    found = shares(two, "style_first", mu=1000)[LAYERS[0]]
    assert found == pytest.approx((1000 / 1001, 0), abs=1e-5)


def test_what_is_kept_is_told_and_can_be_restored(two):
    soft = MergeSettings(method="null_space", preset="style_first")
    merged = merge_loras(stack(*two), soft)
    with open_stack(two) as files:
        rows = [files.deltas(name) for name in files.names if name.startswith("denoiser.")]
    before = sum(energy(hero) for hero, _ in rows)
    after = sum(energy(give_way(hero, read_change(ink), 1 / 3)) for hero, ink in rows)
    assert merged.kept == pytest.approx((after / before, 1.0))
    assert f"hero {100 * after / before:.0f} %" in merged.lines[1]
    restored = merge_loras(stack(*two), MergeSettings(method="null_space", preset="style_first", restore_norm=True))
    assert merged.kept[0] < restored.kept[0] <= 1 + 1e-9


def test_the_null_space_lowers_what_the_character_writes_over_the_style(two):
    with open_stack(two) as files:
        for hero, ink in (files.deltas(name) for name in files.names):
            before, after = (measure_overlap(read_change(ink), read_change(one)) for one in (
                hero, give_way(hero, read_change(ink), 1 / 3)))
            assert after.on_first == pytest.approx(before.on_first * 4 / 9, rel=1e-6)


# -- TIES and even energies --------------------------------------------------------------------------------------------


def as_change(*rows):
    matrix = torch.tensor(rows, dtype=torch.float64)
    return LayerDelta(matrix, torch.eye(matrix.shape[1], dtype=torch.float64))


def test_ties_trims_elects_the_sign_of_the_sum_and_takes_the_mean_of_those_that_agree():
    layer = [(1.0, as_change([4.0, -3.0, 1.0, 0.1])), (0.5, as_change([4.0, 8.0, 6.0, 0.2]))]
    torch.testing.assert_close(elect(layer, 0.75), torch.tensor([[3.0, 4.0, 2.0, 0.0]]))
    torch.testing.assert_close(elect(layer, 1.0), torch.tensor([[3.0, 4.0, 2.0, 0.1]]))
    torch.testing.assert_close(elect(layer, 0.25), torch.tensor([[4.0, 4.0, 0.0, 0.0]]))


@pytest.mark.parametrize("density", [0.25, 0.5, 0.9])
def test_ties_is_what_peft_makes_of_whole_matrices_at_their_strengths(density):
    layer = [(strength, change(4, angle)) for strength, angle in ((1.0, 0), (0.5, 50), (0.8, 90))]
    values = [strength * one.dense().float() for strength, one in layer]  # peft elects before it looks at its weights
    expected = ties(values, torch.ones(len(values)), density)
    torch.testing.assert_close(elect(layer, density), expected, atol=1e-6, rtol=1e-6)


def test_ties_is_nearest_to_all_that_agree_in_every_value():
    layer = [(1.0, change(4, 0)), (1.0, change(4, 50)), (1.0, change(4, 90))]
    found, values = elect(layer, 1.0).double(), torch.stack([one.dense() for _, one in layer])
    agrees = values * values.sum(0) > 0

    def aim(x):
        return ((x - values).square() * agrees).sum(0)

    for step in (-1e-2, 1e-2):
        assert (aim(found + step) > aim(found)).all()


def test_ties_of_a_lora_with_itself_is_itself(two, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(two[0].read_bytes())
    merged = merge_loras(stack(two[0], copy, strengths=(1, 1)), MergeSettings(method="ties", rank=8, density=1.0))
    for key, found in whole(merged).items():
        same(found, dense(two[0])[key], 1e-5)
    assert merged.error < 1e-3


def test_even_brings_all_to_one_energy_before_the_strengths(tmp_path):
    small = lora(tmp_path / "small.safetensors", 1)
    large = write(tmp_path / "large.safetensors", {
        kohya(name): {**plain(4, 70 + i), "alpha": torch.tensor(40.0)} for i, name in enumerate(LAYERS)})
    merged = merge_loras(stack(small, large, strengths=(1, 0.5)), MergeSettings(method="even"))
    sizes = [sum(matrix.square().sum().item() for matrix in dense(path).values()) for path in (small, large)]
    assert close(merged.strengths[0] ** 2 * sizes[0], 4 * merged.strengths[1] ** 2 * sizes[1])
    assert close(merged.strengths[0] * merged.strengths[1], 0.5)
    for key, found in whole(merged).items():
        same(found, sum(s * dense(path)[key] for s, path in zip(merged.strengths, (small, large), strict=True)))


# -- compressing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [12, 80])
def test_compressing_takes_the_largest_singular_values(rank):
    one = change(rank, 0, 90, 100)
    u, sizes, v = torch.linalg.svd(one.dense(), full_matrices=False)
    found = compress(one, 5)
    assert found.rank == 5
    same(found.dense(), u[:, :5] * sizes[:5] @ v[:5])
    assert compress(one, rank) is one


def test_no_change_of_the_rank_is_nearer():
    one = change(12, 0)
    found = compress(one, 4)
    least = (found.dense() - one.dense()).norm()
    for seed in range(20):
        for size in (1e-3, 0.1):
            up, down = size * random(OUT, 4, seed=seed), size * random(4, IN, seed=seed + 50)
            assert ((found.up + up) @ (found.down + down) - one.dense()).norm() > least


def test_a_large_matrix_is_compressed_nearly_as_well_as_can_be():
    matrix = (change(40, 0, 400, 500).dense() + 3 * random(400, 500, seed=7)).float()
    sizes = torch.linalg.svdvals(matrix)
    found = nearest(matrix, 40).dense()
    assert (found - matrix).norm() < 1.003 * sizes[40:].square().sum().sqrt()
    before = torch.get_rng_state()
    assert torch.equal(found, nearest(matrix, 40).dense())
    assert torch.equal(before, torch.get_rng_state()), "nobody else's random numbers are used up"


@pytest.mark.parametrize("method", METHODS)
def test_the_error_that_is_stated_is_the_error_that_is_made(two, method):
    settings = {"method": method, "density": 1.0}
    full = merge_loras(stack(*two), MergeSettings(**settings, rank=OUT))
    small = merge_loras(stack(*two), MergeSettings(**settings, rank=3))
    there, here = whole(full), whole(small)
    lost = sum((there[key] - here[key]).square().sum().item() for key in there)
    size = sum(matrix.square().sum().item() for matrix in there.values())
    assert small.error == pytest.approx(math.sqrt(lost / size), rel=1e-3) and small.error > 0.1
    row = small.layers[0]
    missing = (there[row.key] - here[row.key]).norm() / there[row.key].norm()
    assert row.error == pytest.approx(missing.item(), rel=1e-3)
    assert f"Compressed to rank 3: the error is {100 * small.error:.2g} %" in " ".join(small.lines)
    assert all(row.rank <= 3 for row in small.layers)


# -- kinds and names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_merged_exactly_where_its_rank_is_small_and_else_asks_for_a_rank(tmp_path, kind):
    tensors, matrix = kinds()[kind]
    matrix = matrix.double().flatten(1)
    paths = (write(tmp_path / "a.safetensors", {kohya(LAYERS[0]): tensors}),
             write(tmp_path / "b.safetensors", {kohya(LAYERS[0]): plain(3, 60, *matrix.shape)}))
    expected = 0.8 * matrix - 0.6 * dense(paths[1])[f"unet.{LAYERS[0]}"]
    if kind in ("full", "LoHa, full rank", "LoKr, full rank"):
        with pytest.raises(UserError, match="a.safetensors changes the whole matrix"):
            merge_loras(stack(*paths))
        assert merge_loras(stack(*paths), MergeSettings(rank=8)).error > 0
        found = merge_loras(stack(*paths), MergeSettings(rank=64))
    else:
        found = merge_loras(stack(*paths))
    assert found.error < 1e-6
    same(whole(found)[f"unet.{LAYERS[0]}"], expected)


def test_a_lohas_convolution_is_saved_as_one(tmp_path):
    name = "down_blocks.1.resnets.0.conv1"
    paths = []
    for seed in (0, 30):
        tensors, _ = loha(seed, 2, 8, 5, (3, 3))
        paths.append(write(tmp_path / f"{seed}.safetensors", {kohya(name): tensors}))
    factors = merge_loras(stack(*paths)).lora.modules[f"unet.{name}"]
    assert factors.down.shape == (8, 5, 3, 3) and factors.up.shape == (8, 8, 1, 1)


def test_files_with_different_names_become_one_with_one_naming(tmp_path):
    layers = {"attn1.to_q": "attn1_to_q", "attn1.to_k": "attn1_to_k"}
    ldm = write(tmp_path / "ldm.safetensors", {f"lora_unet_input_blocks_4_1_transformer_blocks_0_{name}": plain(4, i)
                                               for i, name in enumerate(layers.values())})
    peft = write(tmp_path / "peft.safetensors", {
        f"unet.down_blocks.1.attentions.0.transformer_blocks.0.{name}": {
            "lora_A.weight": plain(4, i)["lora_down.weight"], "lora_B.weight": plain(4, i)["lora_up.weight"]}
        for i, name in enumerate(layers)})
    save_merged(tmp_path / "out.safetensors", merge_loras(stack(ldm, peft)))
    found = dense(tmp_path / "out.safetensors")
    assert set(found) == {f"unet.{LAYERS[0]}", f"unet.{LAYERS[1]}"}
    same(found[f"unet.{LAYERS[0]}"], (0.8 * 0.5 - 0.6) * plain(4, 0)["lora_up.weight"].double() @
         plain(4, 0)["lora_down.weight"].double(), 1e-5)
    twin = write(tmp_path / "twin.safetensors", {
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q": plain(4, 9)})
    assert set(merge_loras(stack(ldm, twin)).lora.modules) == {
        f"diffusion_model.input_blocks.4.1.transformer_blocks.0.{name}" for name in layers}


def test_a_fused_layer_and_its_three_parts_are_merged_under_the_names_that_the_host_knows(tmp_path):
    row = plain(4, 0, 24, 8)
    fused = write(tmp_path / "a.safetensors", {"lora_unet_double_blocks_0_img_attn_qkv": row})
    apart = write(tmp_path / "b.safetensors", {"transformer.transformer_blocks.0.attn.to_k": {
        "lora_A.weight": plain(2, 9, 8, 8)["lora_down.weight"], "lora_B.weight": plain(2, 9, 8, 8)["lora_up.weight"]}})
    save_merged(tmp_path / "out.safetensors", merge_loras(stack(fused, apart)))
    names = {key.rpartition(".lora_")[0] for key in load_file(tmp_path / "out.safetensors")}
    assert names == {f"transformer.transformer_blocks.0.attn.to_{letter}" for letter in "qkv"}
    found, rows = dense(tmp_path / "out.safetensors"), dense(fused)["diffusion_model.double_blocks.0.img_attn.qkv"]
    same(found["transformer.transformer_blocks.0.attn.to_q"], 0.8 * rows[:8], 1e-5)
    same(found["transformer.transformer_blocks.0.attn.to_k"], 0.8 * rows[8:16] - 0.6 * dense(apart)[
        "transformer.transformer_blocks.0.attn.to_k"], 1e-5)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float16", 2e-3)])
def test_a_saved_merge_reads_back_with_its_lineage(tmp_path, two, dtype, tolerance):
    merged = merge_loras(stack(*two), MergeSettings(method="null_space", mu=0.7, dtype=dtype))
    save_merged(tmp_path / "both.safetensors", merged)
    back = load_lora(tmp_path / "both.safetensors")
    for key, found in dense(tmp_path / "both.safetensors").items():
        same(found, whole(merge_loras(stack(*two), MergeSettings(method="null_space", mu=0.7)))[key], tolerance)
    lineage = json.loads(back.metadata["lora_bootstrap.lineage"])["merge"]
    assert (lineage["method"], lineage["mu"], lineage["preset"]) == ("null_space", 0.7, "balanced")
    assert "density" not in lineage
    assert [(row["name"], row["sha256"], row["strength"], row["role"]) for row in lineage["parents"]] == [
        ("hero", file_hash(two[0]), 0.8, "character"), ("ink", file_hash(two[1]), -0.6, "style")]
    assert back.metadata["ss_base_model_version"] == "sdxl_base_v1-0" and back.metadata["ss_output_name"] == "both"
    assert back.metadata["modelspec.trigger_phrase"] == "hero, ink"
    assert any(key.startswith("lora_te1_") for key in load_file(tmp_path / "both.safetensors"))


def test_merging_a_merge_is_merging_its_parents(tmp_path, two):
    third = lora(tmp_path / "third.safetensors", 400)
    save_merged(tmp_path / "both.safetensors", merge_loras(stack(*two)))
    found = whole(merge_loras([StackEntry(path=tmp_path / "both.safetensors", strength=0.5), StackEntry(path=third)]))
    direct = whole(merge_loras([*stack(*two, strengths=(0.4, -0.3)), StackEntry(path=third)]))
    for key in direct:
        same(found[key], direct[key], 1e-5)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_told_in_one_line_and_nothing_is_written(tmp_path, two, what):
    make, word = BAD[what]
    folder = tmp_path / "out"
    make(tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=word) as error:
        save_merged(folder / "new.safetensors", merge_loras(stack(two[0], tmp_path / "bad.safetensors")))
    assert "\n" not in str(error.value) and not folder.exists()


def test_a_dora_is_refused(tmp_path, two):
    path = write(tmp_path / "dora.safetensors", {kohya(LAYERS[0]): {**plain(), "dora_scale": torch.ones(OUT, 1)}})
    with pytest.raises(UserError, match="dora.safetensors is a DoRA in 1 layers"):
        merge_loras(stack(two[0], path))


def test_a_merge_needs_two_that_are_on_and_a_null_space_exactly_two(tmp_path, two):
    with pytest.raises(UserError, match="at least two LoRAs with a strength other than 0, and the stack has 1"):
        merge_loras(stack(*two, strengths=(1, 0)))
    third = StackEntry(path=lora(tmp_path / "third.safetensors"))
    with pytest.raises(UserError, match="the stack has 3 LoRAs"):
        merge_loras([*stack(*two), third], MergeSettings(method="null_space"))
    zero = write(tmp_path / "zero.safetensors", {kohya(LAYERS[0]): {**plain(), "lora_up.weight": torch.zeros(OUT, 4)}})
    with pytest.raises(UserError, match="zero.safetensors changes nothing"):
        merge_loras(stack(two[0], zero), MergeSettings(method="even"))


def test_a_merge_is_not_written_over_its_parents(two):
    before = two[0].read_bytes()
    with pytest.raises(UserError, match="is one of the merged LoRAs"):
        save_merged(two[0].parent / "." / two[0].name, merge_loras(stack(*two)))
    assert two[0].read_bytes() == before


@pytest.mark.parametrize("setting, word", [
    ({"method": "dare"}, "unknown merge method 'dare'"), ({"preset": "style"}, "unknown preset 'style'"),
    ({"dtype": "float8"}, "unknown dtype"), ({"rank": 0}, "rank is 0"), ({"rank": 4000}, "rank is 4000"),
    ({"rank": 2.5}, "rank is 2.5"), ({"mu": -1}, "mu is -1"), ({"mu": math.nan}, "mu is nan"),
    ({"density": 0}, "density is 0"), ({"method": "ties"}, "needs a rank"),
    ({"roles": {"mid_block": "face"}}, "unknown role of a block 'face'"),
])
def test_settings_out_of_range_are_refused(setting, word):
    with pytest.raises(UserError, match=word):
        MergeSettings(**setting)


def test_cancelling_between_layers_writes_nothing_and_gives_the_threads_back(two):
    threads = torch.get_num_threads()

    def cancel(done, count):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_loras(stack(*two), progress=cancel)
    assert torch.get_num_threads() == threads
