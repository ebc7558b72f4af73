"""`lora-bootstrap sweep` and `score`: a run's checkpoints are drawn, then judged."""

import json
from pathlib import Path

from ...helpers.command_line import SMALL, run


def test_a_runs_checkpoints_are_swept_and_scored(tiny, tmp_path, dataset, capsys):
    run("train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path, "--trigger", "zqx", *SMALL,
        "--set", "save_every=1")
    size = ["--width", 32, "--height", 32, "--sample-steps", 2, "--output", tmp_path, "--json"]
    capsys.readouterr()
    assert run("sweep", "--run", tmp_path / "loras" / "discs", "--checkpoints", "last 2", "--prompt", "zqx, grass",
               "--seeds", "1-2", "--without", *size) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["cells"] == 2 * 2 * 2 + 2 and not made["failed"] and Path(made["page"]).name == "grid.html"
    assert run("score", made["folder"], "--dataset", tmp_path / "data", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["rows"]) == 4 and all(row["burn"] is not None for row in scores["rows"])
    measured = {row["likeness"] is not None for row in scores["rows"]}
    assert (scores["recommended"] is not None) == measured.pop()
    assert Path(scores["csv"]).read_text().count("\n") == 5
