"""What a project states about consent and rights, from its start to the release of its LoRA."""

import json
import zipfile

import pytest

from lora_bootstrap.trainer.bootstrap.project import ProjectRecord
from lora_bootstrap.trainer.bootstrap.report import write_report
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.records.read_archive import import_project
from lora_bootstrap.trainer.records.write_archive import export_project
from lora_bootstrap.trainer.release.release import release_lora
from lora_bootstrap.trainer.release.settings import ReleaseSettings
from lora_bootstrap.trainer.statements.consent import Statement, read_statement, save_statement
from lora_bootstrap.trainer.statements.rights import MOST_LETTERS, Rights

from ...helpers.command_line import run
from ...helpers.trained_run import write_trained
from ...helpers.written_project import write_project

JO = Statement(Rights(person="real", consent_by="Jo", consent_written="yes",
                      consent_uses=("images", "training", "generating"), holder="Jo & I"), "cc-by-nc-4.0")


def write_trained_project(output, statement=JO, name="jo"):
    """A project with this statement, and a run that was trained on its crops."""
    folder = write_project(output, name, candidates=1)
    save_statement(folder, statement)
    run = write_trained(output, name)
    rows = [{"content": crop.content_hash, "name": crop.path.name} for crop in load_folder(folder / "crops")]
    write_json(run.folder / "images.json", {"images": rows})
    return folder, run


def release(output, run, **settings):
    done = release_lora(run.folder, output / "loras" / "releases", ReleaseSettings(**settings),
                        projects=output / "bootstrap")
    return done, read_json(done.folder / "rights.json")


def test_a_release_takes_over_what_its_project_states_and_says_so(tmp_path):
    _, run = write_trained_project(tmp_path)
    done, rights = release(tmp_path, run)
    assert (rights["person"], rights["consent_by"], rights["consent_written"]) == ("real", "Jo", "yes")
    assert rights["consent_uses"] == ["images", "training", "generating"] and rights["licence"] == "cc-by-nc-4.0"
    assert done.warnings == () and "taken from project 'jo'" in done.text()
    assert "license: \"cc-by-nc-4.0\"" in (done.folder / "README.md").read_text("utf-8")
    assert json.loads((done.folder / "jo.civitai.info").read_text())["model"]["poi"] is True


def test_the_answers_of_the_release_win_and_their_differences_are_named(tmp_path):
    _, run = write_trained_project(tmp_path)
    done, rights = release(tmp_path, run, licence="mit", rights=Rights(consent_by="An agent"))
    assert (rights["person"], rights["consent_by"], rights["licence"]) == ("real", "An agent", "mit")
    assert rights["consent_uses"] == "not stated", "the agent is not said to have consented to what Jo did"
    assert "The release states licence: mit. Its project states: cc-by-nc-4.0." in done.lines
    assert "The release states consent by: An agent. Its project states: Jo." in done.lines
    done, rights = release(tmp_path, run, rights=Rights(person="invented"))
    assert rights["person"] == "invented" and rights["consent_by"] == "not stated"
    assert any("was stated to be real before the training" in line for line in rights["warnings"])
    assert "was stated to be real before the training" in (done.folder / "README.md").read_text("utf-8")


def test_a_run_of_the_same_name_with_other_images_takes_nothing_over(tmp_path):
    _, run = write_trained_project(tmp_path)
    write_json(run.folder / "images.json", {"images": [{"content": "0" * 64, "name": "a.png"}]})
    done, rights = release(tmp_path, run)
    assert rights["consent_by"] == "not stated" and done.project is None


def test_a_real_person_without_consent_is_a_warning_at_the_start_and_in_the_report_and_no_refusal(tmp_path):
    folder, run = write_trained_project(tmp_path, Statement(Rights(person="real", consent_by="Jo",
                                                                   consent_uses=("images",))))
    page = write_report(ProjectRecord.load(folder), tmp_path).read_text("utf-8")
    for words in ("This project shows a real person, whose consent is not stated for: training, generating.",
                  "whose consent is not stated to be in writing", "<td>consent by</td><td>Jo</td>",
                  "<td>licence</td><td>not stated</td>"):
        assert words in page, words
    done, _ = release(tmp_path, run)
    assert "This LoRA shows a real person, whose consent is not stated for: training, generating." in done.warnings


def test_nothing_stated_is_no_file_and_leaves_an_earlier_statement_while_less_stated_takes_its_place(tmp_path):
    assert save_statement(tmp_path, Statement()) == (Statement(), "") and not [*tmp_path.iterdir()]
    save_statement(tmp_path, JO)
    assert save_statement(tmp_path, Statement()) == (JO, "")
    withdrawn = Statement(Rights(person="real"))
    save_statement(tmp_path, withdrawn)
    assert read_statement(tmp_path) == (withdrawn, ""), "consent that is taken back is not remembered"


@pytest.mark.parametrize("text", ["{", '{"rights": {"person": "maybe"}}', '{"licence": 3}',
                                  json.dumps({"licence": "x" * (MOST_LETTERS + 1)})])
def test_answers_that_cannot_be_read_are_named_and_never_counted(tmp_path, text):
    folder, run = write_trained_project(tmp_path)
    (folder / "rights.json").write_text(text)
    assert "are not used" in read_statement(folder)[1]
    done, rights = release(tmp_path, run)
    assert rights["person"] == "not stated" and "The answers about consent and rights are not used" in done.text()
    assert "are not used" in write_report(ProjectRecord.load(folder), tmp_path).read_text("utf-8")


def test_the_statement_travels_with_the_project_and_a_forged_one_is_refused(tmp_path):
    write_trained_project(tmp_path / "here")
    file = export_project(tmp_path / "here", "jo", tmp_path / "jo.zip").file
    done = import_project(tmp_path / "there", file)
    assert read_statement(done.folder) == (JO, "") and done.warnings == ()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(tmp_path / "forged.zip", "w") as target:
        for name in source.namelist():
            target.writestr(name, b'{"rights": []}' if name == "project/rights.json" else source.read(name))
    with pytest.raises(UserError, match=r"rights\.json"):
        import_project(tmp_path / "there", tmp_path / "forged.zip")


def test_what_is_open_about_consent_is_said_where_a_project_or_its_images_leave_and_where_they_arrive(tmp_path, capsys):
    folder, trained = write_trained_project(tmp_path / "here", Statement(Rights(person="real")))
    words = "This project shows a real person, and consent is not stated."
    assert run("project", "export", "jo", tmp_path / "jo.zip", "--output", tmp_path / "here") == 0
    assert f"⚠ {words}" in capsys.readouterr().out
    assert run("project", "import", tmp_path / "jo.zip", "--output", tmp_path / "there") == 0
    assert f"⚠ {words}" in capsys.readouterr().out
    for packed in (folder, trained.folder):
        assert run("dataset-zip", packed, tmp_path / "images.zip", "--output", tmp_path / "here") == 0
        assert f"⚠ {words}" in capsys.readouterr().out
        assert words in zipfile.ZipFile(tmp_path / "images.zip").read("settings.md").decode()
    (folder / "rights.json").write_text("{")
    assert run("dataset-zip", folder, tmp_path / "images.zip") == 0
    told = zipfile.ZipFile(tmp_path / "images.zip").read("settings.md").decode()
    assert "The answers about consent and rights are not used: rights.json" in told and str(tmp_path) not in told
