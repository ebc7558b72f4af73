"""A release's feedback form, from its tester back into the project."""

import codecs

import pytest

from lora_bootstrap.trainer.bootstrap.project import ProjectRecord
from lora_bootstrap.trainer.bootstrap.report import write_report
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.records.read_archive import import_project
from lora_bootstrap.trainer.records.write_archive import export_project
from lora_bootstrap.trainer.statements.feedback import add_feedback, read_feedback
from lora_bootstrap.trainer.statements.feedback_form import (
    MOST_BYTES,
    MOST_LETTERS,
    VIEWS,
    Answer,
    read_form_file,
    read_forms,
    write_form,
)

from ...helpers.command_line import run
from ...helpers.written_project import write_project

FORM = write_form("akane", "Akane", "1.0", "ABCDEF012345", views=True)
ANSWERS = {"tester": "Jo", "strength": "0.8", "worked": "Her hair.\nHer dress, too.", "failed": "hands: six fingers"}
VIEW = "view from behind: "


def fill(form=FORM, **answers):
    for name, text in answers.items():
        head = next(line for line in form.splitlines() if line.startswith(f"[{name}]"))
        form = form.replace(head, f"{head}\n{text}")
    return form.replace(VIEW, f"{VIEW}bad, the ears are gone")


FILLED = Answer(release="akane", version="1.0", weights="ABCDEF012345", **ANSWERS,
                views={"view from behind": "bad, the ears are gone"})


@pytest.mark.parametrize("data", [
    fill(**ANSWERS).encode(),
    codecs.BOM_UTF8 + fill(**ANSWERS).replace("\n", "\r\n").encode(),
    fill(**ANSWERS).replace("\n", "\r\n").encode("utf-16"),
    f"Hi! Here is what I saw:\n> thanks\n{fill(**ANSWERS)}\n\n\n".replace("[worked]", " [ Worked ]").encode(),
], ids=["as written", "Notepad", "Notepad as Unicode", "with a greeting"])
def test_a_filled_form_is_read_as_it_was_meant(tmp_path, data):
    path = tmp_path / "feedback.txt"
    path.write_bytes(data)
    assert read_form_file(path) == [FILLED]


def test_half_a_form_and_lines_that_no_field_asks_for_are_read_as_far_as_they_go():
    answer, = read_forms("[release]\nakane\n[colour]\nred\n[strength] the strength that you used: 0,7\n[views]\n"
                         "from the moon: odd\nFront view : good\n  and sharp\n[comments]\nall fine\x07\x1b[31m\u202e")
    assert answer.release == "akane [colour] red", "an unknown name in brackets is text"
    assert (answer.strength, answer.views) == ("0,7", {"front view": "good\nand sharp"})
    assert answer.comments == "all fine[31m\nfrom the moon: odd"


def test_a_form_of_blanks_alone_costs_no_time_and_foreign_spaces_part_words():
    blank = " " * 100_000
    answer, = read_forms(f"[release]\nakane\n[views]\n{blank}x\nfront view{blank}: tr\u00e8s\u00a0bon\n"
                         "[worked]\n\u9aea\u3000\u8033")
    assert (answer.views, answer.comments, answer.worked) == ({"front view": "tr\u00e8s bon"}, "x", "\u9aea \u8033")


def test_several_forms_in_one_text_are_several_answers():
    both = read_forms(fill(**ANSWERS) + "\n" + fill(tester="Kim"))
    assert [answer.title for answer in both] == ["akane 1.0, by Jo", "akane 1.0, by Kim"]


@pytest.mark.parametrize(("data", "words"), [
    (b"", "it has no [release]"), (b"Nice LoRA!", "it has no [release]"), (FORM.encode(), "nothing is filled in"),
    (b"[release]\n\n[worked]\nx", "[release] of the form is empty"), (b"[release]\na\0b", "is not a text"),
    (b"[release]\na\n[worked]\n" + b"x" * (MOST_LETTERS + 1), f"at most {MOST_LETTERS} letters"),
    (b"[release]" + b"x" * MOST_BYTES, "larger than 256 KB"), (b"\xff\xfe\x00", "not a text")])
def test_what_is_not_a_filled_form_is_refused_in_one_line(tmp_path, data, words):
    path = tmp_path / "feedback.txt"
    path.write_bytes(data)
    with pytest.raises(UserError) as refused:
        read_form_file(path)
    assert words in str(refused.value) and str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_the_form_asks_about_every_view_of_a_character_and_about_none_of_a_style():
    assert all(f"\n{view}: \n" in FORM for view in VIEWS) and "Feedback on Akane, version 1.0" in FORM
    assert "[views]" not in write_form("ink", "Ink", "1.0", "", views=False)


def test_feedback_is_saved_once_shown_in_the_report_and_carried_by_the_projects_zip(tmp_path):
    folder = write_project(tmp_path / "here", "akane", candidates=1)
    unsafe = Answer(release="akane", worked="<script>alert(1)</script>")
    assert add_feedback(folder, [FILLED, FILLED]) == 1
    assert add_feedback(folder, [FILLED, unsafe]) == 1
    page = write_report(ProjectRecord.load(folder), tmp_path / "here").read_text("utf-8")
    for words in ("Feedback of testers", "akane 1.0, by Jo", "bad, the ears are gone", "Her hair.\nHer dress, too.",
                  "&lt;script&gt;alert(1)"):
        assert words in page, words
    assert "<script" not in page
    done = import_project(tmp_path / "there", export_project(tmp_path / "here", "akane", tmp_path / "a.zip").file)
    assert read_feedback(done.folder).answers == (FILLED, unsafe)
    (folder / "feedback.json").write_text('{"answers": [{"release": "x", "views": {"<b>": "y"}}]}')
    assert "is not a view of a feedback form" in write_report(
        ProjectRecord.load(folder), tmp_path / "here").read_text("utf-8")


def test_the_command_line_reads_filled_forms_into_the_project(tmp_path, capsys):
    folder = write_project(tmp_path, "akane", candidates=1)
    (tmp_path / "jo.txt").write_text(fill(**ANSWERS), "utf-8")
    (tmp_path / "empty.txt").write_text(FORM, "utf-8")
    assert run("project", "feedback", "akane", tmp_path / "jo.txt", "--output", tmp_path) == 0
    assert read_feedback(folder).answers == (FILLED,)
    assert run("project", "feedback", "akane", tmp_path / "jo.txt", "--output", tmp_path) == 0
    assert "0 new feedback forms saved with project 'akane'; 1 of 1 were known." in capsys.readouterr().out
    assert run("project", "feedback", "akane", tmp_path / "jo.txt", tmp_path / "empty.txt", "--output", tmp_path) == 2
