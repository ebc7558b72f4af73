"""What every run proves about itself, each with a fault that nobody would see in the loss."""

import json
from dataclasses import replace

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.lora import file as lora_file
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights
from lora_bootstrap.trainer.proofs import saved_file
from lora_bootstrap.trainer.proofs.proof import EXACT, ROUNDED, Proof, proof_rows, tolerance
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, Proved, RunStarted, StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import open_run, read_run

NAMES = ["coverage", "same text", "file works"]


def config(**settings):
    return TrainConfig(name="tiny", steps=3).replace(**{
        "adapter.rank": 2, "adapter.alpha": 2, "adapter.layers": "all", "adapter.conv_rank": 2,
        "optimizer.learning_rate": 1e-2, "data.resolution": 32, "data.batch_size": 2, **settings})


def proofs(events):
    return [event.proof for event in events if isinstance(event, Proved)]


@pytest.fixture
def run(tiny_backbone, dataset, tmp_path):
    def train_with(**settings):
        return list(train(tiny_backbone, dataset, config(**settings), tmp_path / "runs"))

    return train_with


def test_a_run_proves_the_same_text_its_coverage_and_that_its_file_works(run, tmp_path):
    events = run(**{"adapter.text_encoder": True, "data.caption_dropout": 0.5})
    found = proofs(events)
    assert [proof.name for proof in found] == NAMES and all(proof.passed for proof in found)
    coverage, same, works = found
    started = next(event for event in events if isinstance(event, RunStarted))
    assert coverage.words == f"{started.covered} of {started.coverable} linear layers in the blocks"
    assert coverage.figure == 1.0 and started.covered > 20
    assert same.figure < 1e-5 and works.figure < EXACT
    assert works.words.startswith(f"{started.adapted_modules} of {started.adapted_modules} layers are read back")
    told = json.loads((tmp_path / "runs" / "tiny" / "run.json").read_text("utf-8"))
    assert told["proofs"] == proof_rows(found) and told["status"] == "finished"
    assert isinstance(events[-1], Finished) and not any(isinstance(event, Warned) for event in events)


def test_a_magnitude_that_the_file_lost_is_found_out(run, monkeypatch):
    save = lora_file.save_lora

    def forget(path, lora, **options):
        modules = {key: replace(value, magnitude=None) for key, value in lora.modules.items()}
        save(path, replace(lora, modules=modules), **options)

    monkeypatch.setattr(lora_file, "save_lora", forget)
    proof = proofs(run(**{"adapter.kind": "dora"}))[-1]
    assert not proof.passed and "have other weights" in proof.words


def test_layers_of_several_ranks_are_the_same_in_a_style_that_writes_them_with_one(tmp_path):
    weights = {f"transformer.transformer_blocks.0.attn.to_{word}": Factors(
        torch.randn(rank, 6), torch.randn(5, rank), 3.0) for word, rank in (("q", 2), ("k", 4))}
    lora_file.save_lora(tmp_path / "a.safetensors", LoraWeights(weights), key_style="peft")
    assert saved_file._wrong_factors(tmp_path / "a.safetensors", weights) == []


def test_attention_that_is_left_out_by_its_rank_is_not_missing(run):
    coverage, *_ = proofs(run(**{"adapter.block_ranks": "down=0, attn2.to_k=0"}))
    assert coverage.passed and 0.3 < coverage.figure < 0.9


def test_proofs_leave_the_trained_weights_as_they_are_without_them(tiny_backbone, dataset, tmp_path, monkeypatch):
    from lora_bootstrap.trainer.training import loop

    *_, proved = train(tiny_backbone, dataset, config(), tmp_path / "proved")
    monkeypatch.setattr(loop._Session, "_prove_same_text", lambda self: iter(()))
    monkeypatch.setattr(loop._Session, "_prove_file", lambda self, *_: iter(()))
    *_, plain = train(tiny_backbone, dataset, config(), tmp_path / "plain")
    ours, theirs = (lora_file.load_lora(event.path).modules for event in (proved, plain))
    assert all(torch.equal(ours[name].up, theirs[name].up) for name in theirs)


# -- same text -------------------------------------------------------------------------------------------------------


def test_a_caption_that_training_encodes_in_another_way_is_refused_before_the_first_step(
        run, tiny_backbone, tmp_path, monkeypatch):
    encode = tiny_backbone.encode_text
    monkeypatch.setattr(tiny_backbone, "encode_text", lambda captions: encode([text[:4] for text in captions]))
    with pytest.raises(UserError, match=r"for the caption '\w+, disc, number \d'") as refused:
        run()
    assert "prompt_embeds differs by" in str(refused.value) and "at most 0.001" in str(refused.value)
    stored = read_run(tmp_path / "runs" / "tiny")
    assert [(proof.name, proof.passed) for proof in stored.proofs] == [("coverage", True), ("same text", False)]
    assert stored.proofs[1].figure > 0.001 and not stored.metrics() and not stored.checkpoints()


def test_the_empty_caption_is_compared_where_captions_are_dropped(run, tiny_backbone, monkeypatch):
    encode = tiny_backbone.encode_text
    monkeypatch.setattr(tiny_backbone, "encode_text",
                        lambda captions: encode([text or "nothing" for text in captions]))
    assert isinstance(run()[-1], Finished)
    with pytest.raises(UserError, match="for the caption ''"):
        run(**{"data.caption_dropout": 0.1})


def test_what_an_older_version_cached_is_compared_too(run, tiny_backbone, dataset, tmp_path, monkeypatch):
    """The conditioning that is proved is the one that the steps receive."""
    from lora_bootstrap.trainer.training.feed import Feed

    row = Feed.row
    monkeypatch.setattr(Feed, "row", lambda self, *which: replace(
        row(self, *which), tensors={"prompt_embeds": torch.zeros(1, 77, 32)}))
    with pytest.raises(UserError, match="prompt_embeds differs by 1"):
        run()


def test_stale_entries_of_the_cache_are_encoded_anew_instead_of_refusing_the_run(
        run, tiny_backbone, tmp_path, monkeypatch):
    encode = tiny_backbone.encode_text
    with monkeypatch.context() as patched:
        patched.setattr(tiny_backbone, "encode_text", lambda captions: encode([text[:4] for text in captions]))
        with pytest.raises(UserError, match="prompt_embeds differs by"):
            run()
    events = run()
    assert isinstance(events[-1], Finished) and all(proof.passed for proof in proofs(events))
    assert [event.message for event in events if isinstance(event, Warned) and ".runs-cache" in event.message]
    assert not [event for event in run(seed=5) if isinstance(event, Warned)]  # what is saved now is right


# -- the file --------------------------------------------------------------------------------------------------------


def skip_a_layer(weights, name):
    return {key: factors for key, factors in weights.items() if key != name}


def halve_an_alpha(weights, name):
    return {**weights, name: replace(weights[name], alpha=weights[name].alpha / 2)}


def exchange_factors(weights, name):
    return {**weights, name: replace(weights[name], down=-weights[name].down)}


FAULTS = {skip_a_layer: "1 of {count} layers are not in it, such as {name}",
          halve_an_alpha: "1 of {count} layers have other weights or another alpha, such as {name}",
          exchange_factors: "1 of {count} layers have other weights or another alpha, such as {name}"}


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_file_that_lost_something_is_kept_and_reported(run, monkeypatch, fault, part):
    saved = []

    def save(path, lora, **options):
        name = next(key for key in lora.modules if key.startswith(f"{part}.") and key.endswith(("to_v", "v_proj")))
        saved.append(FAULTS[fault].format(count=len(lora.modules), name=name))
        lora_file_save(path, LoraWeights(fault(lora.modules, name), lora.metadata), **options)

    lora_file_save = lora_file.save_lora
    monkeypatch.setattr(lora_file, "save_lora", save)
    events = run(**{"adapter.text_encoder": True})
    proof = proofs(events)[-1]
    assert not proof.passed and saved[-1] in proof.words and proof.figure > EXACT
    assert [event.message for event in events if isinstance(event, Warned)] == [proof.words]
    assert isinstance(events[-1], Finished) and events[-1].path.is_file()
    again = run(**{"adapter.text_encoder": True})
    assert again[-1].reused and [event.message for event in again[:-1]] == [proof.words]


def test_a_loader_that_reads_other_weights_than_were_written_is_found_out(run, tiny_backbone, monkeypatch):
    load = tiny_backbone.pipeline.load_lora_weights

    def wrong(*args, **options):
        load(*args, **options)
        with torch.no_grad():
            for name, parameter in tiny_backbone.network.named_parameters():
                if "lora_B" in name:
                    parameter.mul_(0.5)

    monkeypatch.setattr(tiny_backbone.pipeline, "load_lora_weights", wrong)
    proof = proofs(run())[-1]
    assert not proof.passed and "its output differs from that of the training by" in proof.words


def test_a_lora_without_an_effect_cannot_leave_unnoticed(run):
    events = run(**{"optimizer.learning_rate": 1e-9})
    proof = proofs(events)[-1]
    assert not proof.passed and "it has no effect" in proof.words
    assert proof.words in [event.message for event in events if isinstance(event, Warned)]


def test_a_loader_that_raises_leaves_the_file_and_a_failed_proof(run, tiny_backbone, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(tiny_backbone.pipeline, "load_lora_weights", broken)
    events = run()
    assert not proofs(events)[-1].passed and "cannot be read back: no such kernel" in proofs(events)[-1].words
    assert events[-1].path.is_file()


# -- when ------------------------------------------------------------------------------------------------------------


def test_a_stopped_run_is_proved_and_a_closed_one_is_not(tiny_backbone, dataset, tmp_path):
    stopped = list(train(tiny_backbone, dataset, config(), tmp_path / "runs", should_stop=lambda: True))
    assert [proof.name for proof in proofs(stopped)] == NAMES and stopped[-1].stopped
    rest = list(train(tiny_backbone, dataset, config(), tmp_path / "runs"))
    assert [proof.name for proof in proofs(rest)] == NAMES  # a resumed run proves all again
    events = train(tiny_backbone, dataset, config(seed=1), tmp_path / "runs")
    next(event for event in events if isinstance(event, StepDone))
    events.close()
    assert [proof.name for proof in read_run(tmp_path / "runs" / "tiny-2").proofs] == NAMES[:2]


def test_damaged_proofs_in_run_json_cost_only_themselves(tmp_path):
    run = open_run(tmp_path, config(), "key")
    run.add_proof(Proof("coverage", True, "264 of 264", 1.0))
    run.add_proof(Proof("same text", False, "far off", float("inf")))
    run.facts["proofs"] += [{"name": 3}, "word", None]
    assert [(proof.name, proof.figure) for proof in run.proofs] == [("coverage", 1.0), ("same text", None)]
    run.facts["proofs"] = {"other": 1}
    assert run.proofs == ()


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, EXACT), (torch.bfloat16, ROUNDED),
                                              (torch.float16, ROUNDED), (torch.float8_e4m3fn, ROUNDED)])
def test_the_tolerance_follows_the_weights(dtype, limit):
    assert tolerance(torch.nn.Linear(2, 2).to(dtype).requires_grad_(False)) == limit


def test_memory_that_runs_out_at_the_end_loses_neither_the_file_nor_the_run(run, tiny_backbone, monkeypatch):
    real, calls = type(tiny_backbone).predict, []

    def crowded(self, noisy, t, conditioning):
        calls.append(torch.is_grad_enabled())
        if len(calls) > 1 and not calls[-1] and any(calls):  # after the steps
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, noisy, t, conditioning)

    monkeypatch.setattr(type(tiny_backbone), "predict", crowded)
    events = run()
    proof = proofs(events)[-1]
    assert not proof.passed and "memory ran out" in proof.words and "cannot be read" not in proof.words
    assert isinstance(events[-1], Finished) and events[-1].path.is_file()
