"""Progress in a log and on a terminal."""

import io

from lora_bootstrap.trainer.bootstrap.events import StageFinished, StageStarted
from lora_bootstrap.trainer.cli.terminal.progress import ProgressBar, clock
from lora_bootstrap.trainer.common.events import Progress
from lora_bootstrap.trainer.training.events import RunStarted, StepDone, Validated


def show(events, terminal):
    stream = io.StringIO()
    progress = ProgressBar(stream, terminal)
    for event in events:
        progress(event)
    progress.close()
    return stream.getvalue()


STEPS = [RunStarted("run", 100, 0, 4, 0, 10, 12345), *(StepDone(n, 0, 1 / n, 1e-3, 0.1, 0.0) for n in range(1, 101))]


def test_a_log_gets_few_plain_lines():
    text = show([StageStarted("crops", "Crop", 1, 9), *STEPS, StageFinished("crops", "4 crops", 65, False)], False)
    assert "\r" not in text and "\x1b" not in text
    assert text.count("step ") == 5 and "step 100/100" in text
    assert text.startswith("[1/9] Crop\n") and "4 crops (1:05)" in text


def test_a_terminal_gets_one_line_that_redraws():
    text = show(STEPS, True)
    assert text.count("\r") == 100 and text.count("\n") == 2
    assert "████████████████████████ 100/100" in text


def test_other_events_have_their_line():
    text = show([Validated(50, 0.2, 0.4, 0.5), Progress("round 1", 8, 8), StageFinished("x", "y", 1, True)], False)
    assert "0.50 of the base's" in text and "round 1 8/8" in text and "already there" in text


def test_a_clock_reads_naturally():
    assert [clock(s) for s in (4.21, 65, 3665)] == ["4.2 s", "1:05", "1:01:05"]
