"""The guides say what is so: their links, the names in them and their figures, beside the tables that they are from."""

from __future__ import annotations

import re
from itertools import chain

import pytest

from lora_bootstrap.bench.ablation import DEFAULT, ROWS
from lora_bootstrap.nodes.extension import NODES
from lora_bootstrap.trainer.bootstrap.config import CurationSettings
from lora_bootstrap.trainer.captions.kinds import KINDS
from lora_bootstrap.trainer.cli.main import VERBS
from lora_bootstrap.trainer.models.families import FAMILIES
from lora_bootstrap.trainer.sweeps.score import ScoreSettings
from lora_bootstrap.trainer.training.config import setting_names
from lora_bootstrap.trainer.training.epochs import steps_for
from lora_bootstrap.trainer.training.presets import kind_preset, preset_config

from ..helpers.pages import GUIDES, HELP, OTHERS, ROOT, SERVED, Page, broken, notes
from ..helpers.templates import NAMES, boxes_of, inputs_of, ui

MOST_LINES = 150
INFOS = [node.object_info() for node in NODES]
DISPLAY = {info["display_name"] for info in INFOS} | {"Train LoRA"}  # for short, in all texts
HOSTS = {
    "Browse Templates", "DualCLIPLoader", "Edit Model Reference Method", "KSampler", "Load CLIP", "Load CLIP Vision",
    "Load Checkpoint", "Load Background Removal Model", "Load Diffusion Model", "Load Image",
    "Load Image (from Folder)", "Load LoRA", "Load LoRA (Model and CLIP)", "Load VAE", "Read me", "Remove Background",
    "Run"}
NOT_NODES = {"ComfyUI/input", "In the middle", "Pick 12", "Pick 24", "Pick 25"}
"""What notes have in bold besides."""
"""Names of the host's own nodes and of what else its front end shows."""
BUTTONS = ("Stop & keep", "Train on", "Keep proposed", "Use this one", "Large view",
           "Add images …")
SHIPPED = "\n".join(path.read_text("utf-8") for path in chain(
    (ROOT / "web").rglob("*.js"), *((ROOT / room).rglob("*.py") for room in ("nodes", "trainer", "host"))))
TITLES = {node.get("title") for name in NAMES for node in ui(name)["nodes"]}
MEMORY = Page.of(ROOT / "docs" / "memory.md")
NOT_NAMES = {"aria_char", "qwen_image", "stable_diffusion"}
"""An example of a trigger, and types of the host's *Load CLIP*."""

each_guide = pytest.mark.parametrize("guide", list(map(Page.of, GUIDES)), ids=lambda page: page.name)
each_page = pytest.mark.parametrize("page", [*map(Page.of, [*GUIDES, *HELP, *OTHERS]), *notes()],
                                    ids=lambda page: page.name)


def guide_called(name: str) -> Page:
    return Page.of(ROOT / "web" / "guides" / f"{name}.md")


def rows(page: Page, columns: int) -> list[list[str]]:
    """The rows of a page's tables with that many columns."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.text.splitlines()
             if line.startswith("|")]
    return [row for row in cells if len(row) == columns]


# -- links and names ---------------------------------------------------------------------------------------------------


@each_page
def test_every_link_leads_to_something_that_is_there(page):
    assert list(filter(None, (broken(page, link) for link in page.links))) == []


@pytest.mark.parametrize("page", list(map(Page.of, [*GUIDES, *HELP])), ids=lambda page: page.name)
def test_a_page_that_is_served_links_only_what_is_served(page):
    """Other files are on GitHub, but not in an installed pack's reader."""
    ours = re.compile(r"(\.\./(guides|docs)/)?\w+\.md(#[\w-]+)?|#[\w-]+|https://.*")
    assert [link for link in page.links if not ours.fullmatch(link)] == []


def test_notes_link_guides_by_the_address_that_every_front_end_opens():
    assert [(page.name, link) for page in notes() for link in page.links
            if not SERVED.fullmatch(link) and not link.startswith("https://")] == []


@each_guide
def test_a_guide_is_short_and_has_one_title(guide):
    lines = guide.text.splitlines()
    assert len(lines) <= MOST_LINES and sum(line.startswith("# ") for line in lines) == 1


@each_page
def test_a_template_that_a_page_names_is_one_that_is_there(page):
    if page.name == "CHANGELOG.md":  # it names what templates were called before
        return
    named = {text for text in (*page.strong, *page.emphasised) if re.match(r"\d [A-Z]", text)}
    assert sorted(named - set(NAMES)) == []


@each_guide
def test_a_node_or_a_message_that_a_guide_names_exists(guide):
    """What is in italics and begins with a capital is a node, or what a panel or a message says."""
    named = {text for text in guide.emphasised if re.fullmatch(r"[A-Z][^.:,?]*", text)}
    assert sorted(text for text in named - DISPLAY - HOSTS - TITLES - set(BUTTONS) if text not in SHIPPED) == []


@pytest.mark.parametrize("page", notes(), ids=lambda page: page.name)
def test_a_node_that_a_note_names_exists(page):
    """What is in italics or bold and begins with a capital is a node, or what a panel or a message says."""
    named = {text for text in (*page.emphasised, *page.strong) if re.fullmatch(r"[A-Z][^.:,?=]*", text)}
    boxes = TITLES | {box["title"] for name in NAMES for box, _ in boxes_of(ui(name)).values()}
    known = DISPLAY | HOSTS | boxes | set(BUTTONS) | NOT_NODES
    assert sorted(text for text in named - known if text not in SHIPPED) == []


def test_the_buttons_that_the_guides_name_are_in_the_panels():
    texts = "\n".join(guide.prose for guide in map(Page.of, GUIDES))
    assert [text for text in BUTTONS if f"*{text}*" not in texts or f'"{text}"' not in SHIPPED] == []


@each_guide
def test_a_setting_that_a_guide_names_exists(guide):
    known = {name for info in INFOS for name in (*inputs_of(info), *info["output_name"])}
    known |= {part for name in setting_names() for part in name.split(".")} | set(map(str, options()))
    named = set(re.findall(r"(?<![\w/.])\*([a-z]+(?:_[a-z0-9]+)+)\*", guide.prose))
    assert sorted(named - known - NOT_NAMES) == []


def options():
    """Everything that a widget of the pack can be set to."""
    for info in INFOS:
        for kind, *more in inputs_of(info).values():
            yield from kind if isinstance(kind, list) else (more[0] if more else {}).get("options", ())


@each_page
def test_a_verb_of_the_command_line_that_a_page_names_exists(page):
    named = set(re.findall(r"lora-bootstrap ([a-z]+(?:-[a-z]+)*)", " ".join(re.findall(r"`[^`]+`", page.text))))
    assert sorted(named - {verb.name for verb in VERBS}) == []


# -- figures -----------------------------------------------------------------------------------------------------------


def test_the_presets_in_the_guide_are_those_of_the_families():
    families = {family.title: family for family in FAMILIES.values()}
    shown = {row[0]: row[1:] for row in rows(guide_called("your_model"), 6) if row[0] in families}
    assert len(shown) >= 11
    for title, row in shown.items():
        family = families[title]
        preset = kind_preset(family, "character")
        rate = f"{preset.learning_rate:.0e}".replace("e-0", "e-")
        assert row == [family.wording, str(family.resolution), f"{preset.rank} / {preset.alpha:g}", rate,
                       str(preset.steps)], title
        assert preset.images == 25


def test_the_strengths_on_a_distilled_model_are_those_that_the_grid_takes():
    forms = {form.title: form for family in FAMILIES.values() for form in family.distilled}
    shown = [row for row in rows(guide_called("your_model"), 3) if row[1] in forms]
    assert len(shown) == 5
    for base, title, strengths in shown:
        least, *_, most = forms[title].strengths
        assert (base, strengths) == (forms[title].base, f"{least:g} to {most:g}")


def test_the_memory_in_the_guide_is_that_of_the_table():
    table = {(name, px): (bf16, fp8) for name, px, batch, _, bf16, _, fp8, *_ in rows(MEMORY, 9) if batch == "1"}
    shown = [row for row in rows(guide_called("your_model"), 4) if row[1].isdigit()]
    assert len(shown) == 12
    for name, px, bf16, fp8 in shown:
        assert table[name, px] == (bf16, fp8)


def test_the_steps_of_the_loop_on_sdxl_are_those_of_the_presets():
    steps = [steps_for(kind_preset(FAMILIES["sdxl"], kind), images)
             for kind, images in (("style", 4), ("style", 16), ("character", 40))]
    assert steps == [500, 500, 3200]
    assert "500, 500 and 3,200 steps" in guide_called("one_image").prose


def test_what_the_loop_is_said_to_reach_was_measured():
    measured = {(arm, by): (identity, prompt) for arm, by, _, identity, _, prompt, *_ in rows(
        Page.of(ROOT / "bench" / "results" / "bootstrap_held_out.md"), 8)}
    shown = [tuple(cell.removesuffix(" %") for cell in row[1:])
             for row in rows(guide_called("one_image"), 3) if "%" in row[1] and not row[0].startswith("of ")]
    assert shown == [measured[arm, "trigger"] for arm in ("4 crops", "16", "40")]
    styles = {row[0]: row[3] for row in rows(Page.of(ROOT / "bench" / "results" / "conflict.md"), 8)}
    kept = [round(float(styles[f"{what}, 0.8 + 0.5"]), 2) for what in ("plain sum", "style-varied character")]
    told = rf"{kept[0]} of its effect.*{kept[1]} \(`bench/results/conflict.md"
    assert re.search(told, guide_called("troubleshooting").prose)


def test_what_views_of_an_edit_model_are_said_to_bring_was_measured():
    measured = {(arm, wrong, marks): (identity, mark) for arm, wrong, marks, _, identity, mark, *_ in rows(
        Page.of(ROOT / "bench" / "results" / "edit_painter.md"), 8)}
    guide = guide_called("one_image")
    shown = [tuple(cell.removesuffix(" %") for cell in row[1:]) for row in rows(guide, 3) if row[0].startswith("of ")]
    assert shown == [measured["loop", "", ""], measured["edit only", "15", "80"], measured["edit + loop", "15", "80"]]
    less, more = (measured[arm, "30", "80"][0] for arm in ("edit only", "edit + loop"))
    assert f"from {less} % to {more} %" in guide.prose


def ablation() -> dict[str, dict[str, tuple[str, str]]]:
    """Row of bench/ablation.py → number of images → (identity, drift), each a difference to the default, with a star if
    it is more than chance."""
    measured: dict[str, dict[str, tuple[str, str]]] = {}
    for images, name, _, identity, *_, drift in rows(Page.of(ROOT / "bench" / "results" / "ablation.md"), 8)[2:]:
        measured.setdefault(name, {})[images] = (re.sub(" ± [^ ]+", "", identity), re.sub(" ± [^ ]+", "", drift))
    del measured[DEFAULT]
    return measured


def without_effect() -> set[str]:
    return {name for name, found in ablation().items() if not any("*" in identity for identity, _ in found.values())}


def test_what_each_option_of_a_training_is_said_to_do_was_measured():
    page, measured = Page.of(ROOT / "web" / "docs" / "LoraBootstrap_TrainSettings.md"), ablation()
    told = {row[0]: row[1:] for row in rows(page, 5)[2:]}
    assert told == {name: [*(found.get(images, ("",))[0] for images in ("4", "16", "40")), found["16"][1]]
                    for name, found in measured.items() if name not in without_effect()}
    listed = re.search(r"Nothing beyond chance was seen of: (.*?)\. ", page.prose)
    assert listed and set(listed[1].split("; ")) == without_effect()
    _, (_, name, _, long, *_) = rows(Page.of(ROOT / "bench" / "results" / "ablation_long.md"), 8)[2:]
    assert name == "schedule constant" and "*" not in long
    assert f"`constant` has {long.lstrip('+')} points more" in page.prose


@pytest.mark.parametrize("family", FAMILIES)
def test_what_showed_no_effect_is_off_unless_someone_turns_it_on(family):
    preset = preset_config(FAMILIES[family], "character").to_dict()
    for row in ROWS:
        for setting, value in row.settings.items() if row.name in without_effect() else ():
            room, name = setting.split(".")
            assert preset[room][name] != value, row.name


def test_limits_in_the_words_of_the_panels_are_those_that_decide():
    words, curation, score = guide_called("words").prose, CurationSettings(), ScoreSettings()
    for text in (f"Below {curation.tag_recall * 100:g} %", f"Below {curation.blur_limit:g} it counts as blurred",
                 f"Above {curation.burn_limit:g} a candidate", f"Below {score.least_diversity:g} it fails",
                 f"Above {score.most_copies:g} it fails", f"Above {score.most_burn:g} it fails"):
        assert text in words
    strengths = {kind: row[1] for row in rows(guide_called("words"), 2) for kind in row[0].split(", ") if kind in KINDS}
    assert strengths == {name: f"{kind.strength:g}" for name, kind in KINDS.items()}


def test_the_numbers_of_images_are_those_of_the_kinds():
    shown = {row[0]: row[1] for row in rows(guide_called("own_images"), 3)}
    for name, label in (("character", "a character"), ("real person", "a real person"), ("style", "a style")):
        assert shown[label] == f"{KINDS[name].least} to {KINDS[name].most}"
