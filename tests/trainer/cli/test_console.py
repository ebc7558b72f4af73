"""What a command does when it is interrupted."""

import os
import signal
import subprocess
import sys

import pytest

from lora_bootstrap.trainer.cli.terminal.console import Console
from lora_bootstrap.trainer.common.files import write_json

from ...helpers.command_line import run


def test_the_first_interrupt_asks_to_stop_and_the_second_insists(capsys):
    console = Console(as_json=False)
    console._on_interrupt()
    assert console.asked_to_stop() and "results so far are saved" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        console._on_interrupt()


def test_a_process_that_is_not_the_first_shows_nothing(capsys):
    Console(as_json=False, rank=1).say("step 1")
    Console(as_json=False, rank=1).complain("it failed")
    assert capsys.readouterr() == ("", "")


def test_the_launcher_of_several_processes_asks_them_to_stop_by_sigterm(monkeypatch):
    def events():
        signal.raise_signal(signal.SIGTERM)
        yield "the step is trained to its end"

    before, console = signal.getsignal(signal.SIGTERM), Console(as_json=False)
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "2")
    assert console.follow(events()) == "the step is trained to its end"
    assert console.asked_to_stop() and signal.getsignal(signal.SIGTERM) is before


def test_a_text_that_the_terminal_cannot_show_does_not_end_a_command(tmp_path):
    write_json(tmp_path / "run.json", {"name": "えいえい"})
    told = subprocess.run([sys.executable, "-m", "lora_bootstrap.trainer", "info", tmp_path], capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert told.returncode == 0 and b"\\u3048\\u3044" in told.stdout and not told.stderr


@pytest.mark.parametrize("text", ["[]", "null", "[" * 100_000, ""])
def test_a_damaged_record_is_one_line(tmp_path, capsys, text):
    (tmp_path / "run.json").write_text(text)
    assert run("info", tmp_path) == 2
    said = capsys.readouterr().err
    assert "run.json" in said and said.count("\n") == 1
