"""The notebooks, the container and the page: their code compiles, and their commands are ones that exist."""

import json
import pathlib
import re
import shlex

import pytest

from lora_bootstrap.trainer.cli.main import VERBS, _build_parser

ROOT = pathlib.Path(__file__).parents[3]
REACH = ROOT / "docs" / "reach"
NOTEBOOKS = sorted(REACH.glob("*.ipynb"))
PAGES = (ROOT / "docs" / "reach.md", REACH / "Dockerfile", *(
    ROOT / "web" / "docs" / f"LoraBootstrap_{name}.md" for name in ("ExportJob", "ImportResult")))
COMMAND = re.compile(r"(?:^|[ `!])lora-bootstrap ((?:%s)(?=[ `]|$)[^`\n]*)" % "|".join(  # noqa: UP031
    verb.name for verb in VERBS))


def cells(path):
    return json.loads(path.read_text("utf-8"))["cells"]


def parse(command):
    """The options of a command, or SystemExit for one that does not exist."""
    words = shlex.split(command)
    return _build_parser(words).parse_args(words)


def commands_of(text):
    """The commands in a text; the mere name of one, as sentences have it, is not among them."""
    found = (match[1].strip() for line in text.replace("\\\n", " ").splitlines()
             for match in COMMAND.finditer(line))
    return [command for command in found if " " in command]


def test_there_are_notebooks_for_colab_and_runpod():
    assert [path.stem for path in NOTEBOOKS] == ["colab", "runpod"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_one_and_its_code_compiles(path):
    book = json.loads(path.read_text("utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5) and book["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]{1,64}", each) for each in ids)
    for cell in book["cells"]:
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | (
            {"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
        assert all(isinstance(line, str) for line in cell["source"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            python = [line for line in "".join(cell["source"]).splitlines() if line[:1] not in ("!", "%")]
            compile("\n".join(python), str(path), "exec")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_use_names_that_earlier_cells_set(path):
    known = set()
    for cell in cells(path):
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            known |= set(re.findall(r"^(\w+) = ", text, re.M))
            assert set(re.findall(r"\{([A-Z_]+)\}", text)) <= known


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_the_job_and_packs_what_a_killed_one_left(path):
    found = [parse(command) for cell in cells(path) for command in commands_of("".join(cell["source"]))]
    assert [(options.verb, options.only_pack) for options in found] == [("run", False), ("run", True)]
    assert str(found[0].work) == str(found[1].job) == "{WORK}", "where it was run is what is packed"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_is_one_that_exists(path):
    found = commands_of(path.read_text("utf-8"))
    assert found or path.name == "LoraBootstrap_ImportResult.md"
    for command in found:
        parse(command)
    with pytest.raises(SystemExit):
        parse("run job.zip --any-bases")


def test_the_container_is_pinned_and_keeps_what_is_made_in_the_mounted_folder():
    text = (REACH / "Dockerfile").read_text("utf-8")
    image = re.search(r"^FROM (\S+)$", text, re.M)[1]
    assert re.fullmatch(r"pytorch/pytorch:\d+\.\d+\.\d+-cuda\d+\.\d+-cudnn\d+-runtime", image)
    assert 'ENTRYPOINT ["lora-bootstrap"]' in text and "WORKDIR /work" in text and "XDG_CACHE_HOME=/work" in text


def test_the_page_leads_through_every_step_and_to_the_other_ways():
    text = (ROOT / "docs" / "reach.md").read_text("utf-8")
    assert {"several-gpus", "many-characters", "a-farm-of-hosts"} == set(re.findall(r"\(#([\w-]+)\)", text))
    headings = {re.sub(r"[^\w -]", "", line[3:]).lower().replace(" ", "-") for line in text.splitlines()
                if line.startswith("## ")}
    assert set(re.findall(r"\(#([\w-]+)\)", text)) <= headings
    for name in re.findall(r"`(docs/[\w./]+)`", text):
        assert (ROOT / name).is_file(), name
