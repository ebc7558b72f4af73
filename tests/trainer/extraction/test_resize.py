"""Resizing: against whole decompositions and kohya's rules, every kind of adapter, what goes along, what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.extraction.ranks import Spectrum, choose_rank
from lora_bootstrap.trainer.extraction.resize import resize_lora
from lora_bootstrap.trainer.extraction.settings import RankSettings
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.layers import read_header
from lora_bootstrap.trainer.lora.tensors import TensorFile

from ...helpers.lora_files import LAYERS, kinds, kohya, lora, plain, write


def resize(path, folder, name="small", **settings):
    *_, last = resize_lora(path, folder, name, RankSettings(**{"dtype": "float32"} | settings))
    return last


def dense(path):
    """The whole change of each layer of a file at strength 1."""
    file = read_header(path)
    return {entry.name.key: file.delta(entry).dense() for entry in file.entries}


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def test_each_layer_is_the_nearest_of_its_rank_and_strength_1_means_the_same(tmp_path):
    path = lora(tmp_path / "large.safetensors", rank=8)
    before, last = dense(path), resize(path, tmp_path / "out", rank=3)
    found, errors = dense(last.path), {row.key: row.error for row in last.report.rows}
    assert found.keys() == before.keys()
    for key, whole in before.items():
        u, sizes, v = torch.linalg.svd(whole, full_matrices=False)
        assert relative(found[key], (u[:, :3] * sizes[:3]) @ v[:3]) < 1e-6
        assert errors[key] == pytest.approx(relative(found[key], whole), rel=1e-5)
    assert {factors.rank for factors in load_lora(last.path).modules.values()} == {3}


def test_a_rank_as_large_as_the_files_loses_nothing(tmp_path):
    path = lora(tmp_path / "lora.safetensors", rank=4)
    last = resize(path, tmp_path / "out", rank=64)
    assert last.report.error < 1e-6 and {row.rank for row in last.report.rows} == {4}
    for key, whole in dense(path).items():
        assert relative(dense(last.path)[key], whole) < 1e-6


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_adapter_becomes_a_plain_lora_of_the_same_change(kind, tmp_path):
    tensors, whole = kinds()[kind]
    path = write(tmp_path / "any.safetensors", {kohya(LAYERS[0]): tensors})
    last = resize(path, tmp_path / "out", rank=64)
    assert read_header(last.path).kinds == {"LoRA": 1}
    (found,) = dense(last.path).values()
    assert relative(found, whole.double().flatten(1)) < 1e-5
    smaller = resize(path, tmp_path / "out", "smaller", rank=2)
    (found,) = dense(smaller.path).values()
    _, sizes, _ = torch.linalg.svd(whole.double().flatten(1))
    assert relative(found, whole.double().flatten(1)) == pytest.approx(
        float(sizes[2:].norm() / sizes.norm()), rel=1e-4, abs=1e-6)


KOHYA = {
    # sd-scripts' resize_lora: index_sv_fro, index_sv_ratio, index_sv_cumulative
    "energy": lambda sizes, share: int(torch.searchsorted(sizes.square().cumsum(0) / sizes.square().sum(), share)) + 1,
    "ratio": lambda sizes, ratio: int((sizes > sizes[0] / ratio).sum()),
    "cumulative": lambda sizes, share: int(torch.searchsorted(sizes.cumsum(0) / sizes.sum(), share)) + 1,
}


@pytest.mark.parametrize(("rule", "target"), [("energy", 0.81), ("energy", 0.5), ("ratio", 3.0), ("ratio", 1.5),
                                              ("cumulative", 0.7), ("cumulative", 0.4)])
def test_a_rule_gives_kohyas_rank_up_to_the_largest(rule, target, tmp_path):
    path = lora(tmp_path / "large.safetensors", rank=12)
    ranks = {row.key: row.rank for row in resize(path, tmp_path / "out", rule=rule, target=target).report.rows}
    wanted = {key: KOHYA[rule](torch.linalg.svdvals(whole)[:12], target) for key, whole in dense(path).items()}
    assert ranks == wanted and 1 < max(wanted.values()) < 12
    most = resize(path, tmp_path / "out", rule=rule, target=target, rank=2)
    assert {row.key: row.rank for row in most.report.rows} == {key: min(2, rank) for key, rank in wanted.items()}


def test_a_layer_with_one_large_direction_still_gets_one():
    spectrum = Spectrum(torch.tensor([5.0, 1e-9], dtype=torch.float64), 25.0, 10, 5.0)
    for rule, target in (("energy", 1e-3), ("ratio", 1.0), ("cumulative", 1e-3), ("fixed", 0.0)):
        assert choose_rank(spectrum, RankSettings(rule=rule, target=target)) == 1


def test_a_file_size_is_kept_to_with_less_error_than_one_rank_for_all(tmp_path):
    rows = {kohya(name): plain(32, seed, 120, 120) for seed, name in enumerate(LAYERS)}
    for factor, row in zip((0.1, 1, 3), rows.values(), strict=True):
        row["lora_up.weight"] = row["lora_up.weight"] * factor
    path = write(tmp_path / "large.safetensors", rows)
    fixed = resize(path, tmp_path / "out", "fixed", rank=8)
    target = fixed.path.stat().st_size / 1e6
    spread = resize(path, tmp_path / "out", "size", rule="size", target=target)
    assert 0.75 * target < spread.path.stat().st_size / 1e6 <= target
    assert spread.report.error < 0.9 * fixed.report.error


def test_a_dora_keeps_its_magnitudes_and_that_is_said(tmp_path):
    rows = {kohya(name): {**plain(6, seed), "dora_scale": torch.rand(20, 1)} for seed, name in enumerate(LAYERS)}
    path = write(tmp_path / "dora.safetensors", rows)
    last = resize(path, tmp_path / "out", rank=2)
    before, after = load_file(path), load_file(last.path)
    for name in LAYERS:
        assert torch.equal(after[f"{kohya(name)}.dora_scale"], before[f"{kohya(name)}.dora_scale"])
        assert len(after[f"{kohya(name)}.lora_down.weight"]) == 2
    assert any(note.startswith("It is a DoRA in 3 layers. Their magnitudes are kept") for note in last.report.notes)


def test_biases_norms_embeddings_and_metadata_go_along(tmp_path):
    extra = {kohya(LAYERS[0]): plain(6), "lora_unet_conv_in": {"diff_b": torch.ones(4)},
             "lora_unet_conv_norm_out": {"diff": torch.ones(5)},
             "bundle_emb.girl": {"string_to_param": torch.ones(2, 3)}}
    path = write(tmp_path / "lora.safetensors", extra, {"modelspec.trigger_phrase": "akane", "ss_network_dim": "6",
                                                        "ss_network_module": "lycoris.kohya",
                                                        "lora_bootstrap.merge_report": "of the whole"})
    last = resize(path, tmp_path / "out", rank=2)
    tensors, metadata = load_file(last.path), TensorFile(last.path).metadata
    assert {"lora_unet_conv_in.diff_b", "lora_unet_conv_norm_out.diff", "bundle_emb.girl.string_to_param"} < (
        tensors.keys())
    assert (metadata["modelspec.trigger_phrase"], metadata["ss_network_dim"], metadata["ss_network_module"]) == (
        "akane", "2", "networks.lora")
    assert "lora_bootstrap.merge_report" not in metadata and str(tmp_path) not in json.dumps(metadata)
    assert json.loads(metadata["lora_bootstrap.lineage"])["resize"]["file"] == "lora.safetensors"


def test_pefts_names_stay_and_get_alphas_only_where_ranks_differ(tmp_path):
    name = "transformer.transformer_blocks.{}.attn.to_q"
    rows = {name.format(index): {"lora_A.weight": torch.randn(8, 24), "lora_B.weight": torch.randn(20, 8)}
            for index in range(2)}
    rows[name.format(1)]["lora_B.weight"][:, 1:] *= 1e-3
    path = write(tmp_path / "peft.safetensors", rows)
    even = resize(path, tmp_path / "out", "even", rank=3)
    assert {key.partition(".lora_")[2] for key in load_file(even.path)} == {"A.weight", "B.weight"}
    uneven = resize(path, tmp_path / "out", "uneven", rule="energy", target=0.9)
    tensors = load_file(uneven.path)
    assert {f"{name.format(index)}.{end}" for index in range(2)
            for end in ("lora_down.weight", "lora_up.weight", "alpha")} == tensors.keys()
    assert any("diffusers may not" in note for note in uneven.report.notes)
    for last in (even, uneven):
        errors = {row.key: row.error for row in last.report.rows}
        for key, whole in dense(path).items():
            assert relative(dense(last.path)[key], whole) == pytest.approx(errors[key], rel=1e-4)


def test_what_cannot_be_resized_is_one_line_and_leaves_nothing(tmp_path):
    good = lora(tmp_path / "good.safetensors")
    short = tmp_path / "short.safetensors"
    short.write_bytes(good.read_bytes()[:-20])
    zero = write(tmp_path / "zero.safetensors", {kohya(LAYERS[0]): {
        "lora_up.weight": torch.zeros(20, 2), "lora_down.weight": torch.zeros(2, 24)}})
    broken = write(tmp_path / "broken.safetensors", {kohya(LAYERS[0]): {
        "lora_up.weight": torch.full((20, 2), torch.nan), "lora_down.weight": torch.zeros(2, 24)}})
    put = write(tmp_path / "set.safetensors", {kohya(LAYERS[0]): {**plain(), "set_weight": torch.ones(20, 24)}})
    twice = write(tmp_path / "twice.safetensors", {kohya(LAYERS[0]): plain(), f"unet.{LAYERS[0]}": plain()})
    huge = tmp_path / "huge.safetensors"
    header = json.dumps({"a.lora_up.weight": {"dtype": "F32", "shape": [1 << 40, 4], "data_offsets": [0, 4]}}).encode()
    huge.write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
    checkpoint = tmp_path / "checkpoint.safetensors"
    save_file({"model.diffusion_model.out.2.weight": torch.ones(2, 2)}, checkpoint)
    for path, words in ((short, "not a complete safetensors file"), (zero, "changes nothing"),
                        (broken, "weights that are not numbers"), (put, "puts weights or shapes in place"),
                        (twice, "twice"), (huge, "not a complete safetensors file"),
                        (checkpoint, "contains no LoRA"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(UserError, match=words) as refused:
            resize(path, tmp_path / "out")
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_is_never_written_over_its_source(tmp_path):
    path = lora(tmp_path / "lora.safetensors", rank=8)
    kept = path.read_bytes()
    assert resize(path, tmp_path, "lora", rank=2).path.name == "lora-2.safetensors"
    assert path.read_bytes() == kept
