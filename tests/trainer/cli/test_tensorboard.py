"""TensorBoard gets the training's figures, or the user a clear line."""

import sys

import pytest

from lora_bootstrap.trainer.cli.terminal.tensorboard import TensorBoardWriter, watch
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.events import RunStarted, StepDone, Validated

EVENTS = [StepDone(1, 0, 0.5, 1e-3, 0.1, 0.0), StepDone(2, 0, 0.25, 1e-3, 0.1, 0.0), Validated(2, 0.3, 0.6, 0.5)]


def test_losses_reach_the_tensorboard_log(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = TensorBoardWriter()
    assert list(watch([RunStarted(tmp_path, 2, 0, 1, 1, 1, 1), *EVENTS], writer))[1:] == EVENTS
    writer.close()
    log = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    assert [(e.step, e.value) for e in log.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    assert log.Scalars("validation/ratio_to_base")[0].value == pytest.approx(0.5)


def test_without_tensorboard_the_line_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        TensorBoardWriter()
