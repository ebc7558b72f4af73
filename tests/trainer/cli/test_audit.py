"""`lora-bootstrap audit`: the report on a folder."""

import json

from ...helpers.audits import draw_faulty_folder
from ...helpers.command_line import run


def test_the_command_writes_its_files_and_prints_the_table(tmp_path, capsys):
    home = draw_faulty_folder(tmp_path / "set")
    argv = ["audit", "--dataset", str(home), "--family", "sandbox", "--resolution", "128", "--output", str(tmp_path),
            "--name", "mine"]
    assert run(*argv) == 0
    out = capsys.readouterr().out
    assert "soft.png" in out and "no view from behind" in out
    assert (tmp_path / "audits" / "mine" / "contact_sheet.png").is_file()
    assert run(*argv, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["finished"] and value["counts"]["duplicate"] == 1
    assert run(*argv, "--copies-only", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"duplicate": 1}


def test_a_mistake_on_the_command_line_is_one_line(tmp_path, capsys):
    assert run("audit", "--dataset", str(tmp_path / "none")) == 2
    assert run("audit", "--dataset", str(tmp_path), "--purpose", "hero") == 2
    error = capsys.readouterr().err
    assert "is not a folder" in error and "unknown purpose" in error and error.count("\n") == 2
