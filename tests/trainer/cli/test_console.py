"""What a command does when it is interrupted."""

import pytest

from lora_bootstrap.trainer.cli.console import Console


def test_the_first_interrupt_asks_to_stop_and_the_second_insists(capsys):
    console = Console(as_json=False)
    console._on_interrupt()
    assert console.asked_to_stop() and "results so far are saved" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        console._on_interrupt()
