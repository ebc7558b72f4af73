"""Prove Training: a short training of the linked model, a table and a grid."""

from dataclasses import replace

import pytest
import torch

from lora_bootstrap.nodes.prove import ProveModel


def prove(**inputs):
    with torch.inference_mode():  # as in a host
        return ProveModel.execute("MODEL", "CLIP", "VAE", **{
            "steps": 3, "resolution": 32, "gradient_checkpointing": False, **inputs}).args


def test_the_node_gives_the_table_the_grid_and_the_outcome(host, adapter, monkeypatch):
    monkeypatch.setattr(adapter.backbone, "family", replace(adapter.backbone.family, sample_steps=2))
    report, grid, proved = prove()
    assert proved and report.startswith("| proved | yes |") and "| host | ComfyUI " in report
    assert grid.ndim == 4 and grid.shape[2] > 8 * 64
    assert (host.output / "loras" / "prove-sandbox" / "prove.md").read_text("utf-8") == report
    assert adapter.calls == ["release", "release"]
    assert "| proved | yes |" in host.server.texts[-1][0]


@pytest.mark.parametrize("kind", [RuntimeError, AttributeError, KeyError, TypeError, AssertionError])
def test_a_model_that_cannot_be_trained_gives_the_reason_and_a_blank_grid(host, adapter, monkeypatch, kind):
    def broken(*_):
        raise kind("no kernel for this")

    monkeypatch.setattr(adapter.backbone, "predict", broken)
    report, grid, proved = prove()
    assert not proved and f"| failure | {kind.__name__}: " in report and grid.shape == (1, 64, 64, 3)


def test_steps_are_checked_before_anything_runs():
    assert ProveModel.validate_inputs(20) is True
    assert "steps is 0" in ProveModel.validate_inputs(0)
