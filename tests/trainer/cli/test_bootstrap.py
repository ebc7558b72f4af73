"""`lora-bootstrap bootstrap` reaches the real loop."""

import json

from lora_bootstrap.sandbox import world

from ...helpers.command_line import SMALL, run


def test_a_bootstrap_runs_through_the_real_loop(tiny, tmp_path, capsys):
    akane = world.Scene(world.HELD_OUT["akane"])
    world.draw(akane, 96).save(tmp_path / "a.png")
    few = [word for kind in ("style", "character") for name in SMALL[1::2] for word in (f"--set-{kind}", name)]
    argv = ["bootstrap", "--picture", tmp_path / "a.png", "--tags", ", ".join(world.caption_tags(akane)), "--trigger",
            "zqx", "--targets", 2, 4, "--candidates", 6, "--strengths", 1, "--candidate-curve", 0.7, 2.3, 0.4,
            "--candidate-strengths", 0.5, "--style-on", "marks", "--mark-weight", 0.5, "--redraw-marks",
            "--sample-steps", 1, "--output", tmp_path,
            "--base", "some-folder", *few, "--person", "real", "--consent-by", "Jo", "--licence", "mit"]
    assert run(*argv, "--json") == 0
    out = capsys.readouterr()
    result = json.loads(out.out)
    drawn = json.loads(next(tmp_path.glob("bootstrap/zqx/round_1/candidates/*.json")).read_text())
    assert drawn["strength"] == 0.5 and drawn["curve"] == "x 0.7 until 0.4, x 2.3 from 0.4 of the steps"
    settings = json.loads((tmp_path / "bootstrap/zqx/project.json").read_text())["settings"]
    assert settings["style_on"] == "marks" and settings["curation"]["mark_weight"] == 0.5 and settings["redraw_marks"]
    assert result["finished"] and result["lora"].endswith("zqx.safetensors")
    stated = json.loads((tmp_path / "bootstrap/zqx/rights.json").read_text())
    assert (stated["rights"]["consent_by"], stated["licence"]) == ("Jo", "mit")
    assert "whose consent is not stated for" not in out.out and "not stated for: images, training" in out.err
    assert "[10/10] Report" in out.err and "3 steps, loss" in out.err
    assert run("info", result["folder"]) == 0
    assert "trigger: zqx" in capsys.readouterr().out
