"""Sheets label every picture so that it can be read, show a sweep that is only part made, and know their limits."""

import json
import re

import numpy
import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.pictures import sheet, text as sheet_text
from lora_bootstrap.trainer.pictures.sheet import MARGIN, SheetStyle, compose_grid, contact_sheet, table_picture
from lora_bootstrap.trainer.pictures.text import Pen
from lora_bootstrap.trainer.sweeps import sheets
from lora_bootstrap.trainer.sweeps.cells import Axis, Choice, Sweep, prompt_axis, seed_axis, strength_axis
from lora_bootstrap.trainer.sweeps.html import write_html
from lora_bootstrap.trainer.sweeps.sheets import NO_LORA, choose_axes, pages, plan_pages, write_sheets

LONG = "zqx, 1girl, solo, red hair, long_hair, blue eyes, school uniform, standing on a rooftop at sunset"
COLOURS = ("red", "lime", "blue", "yellow", "cyan", "magenta")
SMALL = SheetStyle(cell=64, font_size=10)


def checkpoints(count):
    return Axis("checkpoint", tuple(
        Choice(f"step {step}", {"lora": f"{step}.safetensors", "lora_sha256": str(step), "step": step, "epoch": None,
                                "run": "r"}) for step in range(1, count + 1)))


@pytest.fixture
def sweep(tmp_path):
    """Two checkpoints, three strengths, two prompts, two seeds, and pictures without the LoRA."""
    axes = (checkpoints(2), strength_axis((0.5, 0.75, 1)), prompt_axis(("zqx", "zqx, <b>smile</b>")), seed_axis((7, 8)))
    return Sweep(tmp_path / "s", "My sweep", axes, {"steps": 20}, without=True)


def one_row(folder, count, **more):
    return Sweep(folder, "Row", (strength_axis(range(1, count + 1)), prompt_axis(("zqx",))), {"lora": "a"}, **more)


def fill(sweep, size=(32, 32)):
    """Each cell in a colour of its own; returns the colours by key."""
    found = {}
    for number, cell in enumerate(sweep.everything):
        found[cell.key] = (number * 37 % 256, 255 - number * 11 % 256, number * 5 % 256)
        sweep.save(cell, Image.new("RGB", size, found[cell.key]))
    return found


def centres(path, page, gap=MARGIN, cell=64):
    """The colours in the middle of the sheet's cells, found from its right and lower edge."""
    picture = Image.open(path).convert("RGB")
    rows, columns = len(page.cells), len(page.cells[0])
    left, top = picture.width - columns * (cell + gap), picture.height - rows * (cell + gap)
    return [[picture.getpixel((left + column * (cell + gap) + cell // 2, top + row * (cell + gap) + cell // 2))
             for column in range(columns)] for row in range(rows)]


# -- one sheet ---------------------------------------------------------------------------------------------------------


def test_a_sheet_places_every_picture_where_its_row_and_column_are():
    colours = [["red", "lime"], ["blue", "black"]]
    images = [[Image.new("RGB", (64, 64), colour) for colour in row] for row in colours]
    sheet = compose_grid(images, cell=100)
    assert sheet.size == (MARGIN + 2 * 110, MARGIN + 2 * 110)
    centres = [[sheet.getpixel((60 + 110 * column, 60 + 110 * row)) for column in range(2)] for row in range(2)]
    assert centres == [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (0, 0, 0)]]


def test_labels_and_title_take_room_and_are_drawn():
    images = [[Image.new("RGB", (64, 64), "white")]]
    bare, full = compose_grid(images), compose_grid(images, ["a long label " * 9], ["0.5"], "Title")
    assert full.width > bare.width and full.height > bare.height
    assert numpy.array(full).min() < 60 and numpy.array(bare).min() == 255


def test_a_wide_picture_keeps_its_shape():
    sheet = numpy.array(compose_grid([[Image.new("RGB", (200, 50), "black")]], cell=100))
    rows, columns = (numpy.flatnonzero((sheet < 128).any(axis=axis).any(-1)) for axis in (1, 0))
    assert (len(columns), len(rows)) == (100, 25)
    assert rows[0] == MARGIN + (100 - 25) // 2


def test_a_contact_sheet_breaks_into_rows():
    sheet = contact_sheet([Image.new("RGB", (8, 8), "red")] * 5, columns=3, cell=20)
    assert sheet.size == (MARGIN + 3 * 30, MARGIN + 2 * 30)


@pytest.mark.parametrize("font_size", [8, 18, 40, 96])
@pytest.mark.parametrize("cell", [32, 256])
def test_no_text_touches_another_a_picture_or_the_edge_at_any_font_size(monkeypatch, font_size, cell):
    boxes, write, paste = [], Pen.write, Image.Image.paste

    def writing(self, draw, lines, at, ink="black", width=0, align="left"):
        for number, line in enumerate(lines):
            x = at[0] + (width - self.width(line)) / 2 if align == "centre" else at[0]
            y = at[1] + number * self.line
            boxes.append((x, y + 1, x + self.width(line), y + self.line - 1))
        write(self, draw, lines, at, ink, width, align)

    def pasting(self, image, at):
        boxes.append((*at, at[0] + image.width, at[1] + image.height))
        paste(self, image, at)

    monkeypatch.setattr(Pen, "write", writing)
    monkeypatch.setattr(Image.Image, "paste", pasting)
    images = [[Image.new("RGB", (64, 64), "red")] * 3] * 2
    made = compose_grid(images, [LONG, "an_unbroken_name_" * 9], ["0.5", "step 1000 (epoch 10)", LONG],
                        "A title of some length " * 3, cell, axes=("prompt", "strength"),
                        caption=f"seed: 5 · prompt: {LONG}", font_size=font_size)
    assert len(boxes) > 15
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and top >= 0 and right <= made.width and bottom <= made.height
        for other in boxes[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_short_column_labels_keep_their_words_and_all_their_lines_over_small_cells(monkeypatch):
    written = []
    monkeypatch.setattr(Pen, "write", lambda self, draw, lines, *rest, **more: written.append(list(lines)))
    compose_grid([[Image.new("RGB", (8, 8))]], (), ["step 1000 (epoch 10)"], cell=32, font_size=24)
    assert written[-1] == ["step", "1000", "(epoch", "10)"]


@pytest.mark.parametrize("text", [LONG, "an_unbroken_name_" * 9, "a" * 300, "日本語のプロンプト、赤い髪" * 5])
@pytest.mark.parametrize("width", [40, 150, 600])
def test_wrapped_lines_are_as_wide_as_told_at_most_and_lose_nothing(text, width):
    pen = Pen(18)
    lines = pen.wrap(text, width)
    assert max(map(pen.width, lines)) <= width + 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_words_that_fit_are_not_broken():
    assert set(" ".join(Pen(18).wrap("standing on a rooftop", 90)).split()) == {"standing", "on", "a", "rooftop"}


def test_what_does_not_fit_ends_in_an_ellipsis_and_what_fits_does_not():
    pen = Pen(18)
    for width in range(60, 300, 3):
        assert pen.wrap(LONG, width, 2)[-1].endswith("…") and pen.width(pen.wrap(LONG, width, 2)[-1]) <= width
    whole = pen.wrap(LONG, 200)
    assert pen.wrap(LONG, 200, len(whole)) == whole


def test_a_row_label_is_cut_only_if_two_cells_are_too_narrow_for_it(monkeypatch):
    written = []
    monkeypatch.setattr(Pen, "write", lambda self, draw, lines, *rest, **more: written.append(" ".join(lines)))
    images = [[Image.new("RGB", (64, 64), "red")]]
    compose_grid(images, [LONG], cell=100)
    assert LONG in written[-1].replace("long_ hair", "long_hair")
    compose_grid(images, [LONG * 20], cell=160)
    assert written[-1].endswith("…")
    compose_grid(images, [LONG], cell=160, wrap=False)
    assert written[-1].endswith("…")


@pytest.mark.parametrize("fonts", [(), sheet_text.FONTS])
@pytest.mark.parametrize("text", [
    "日本語", "😀 👩‍👩‍👧 ❤️", "e\u0301\u0301", "\ud800\x00\u200d", "שלום", "", "a→b — ż"])
def test_any_character_is_drawn_somehow_with_and_without_other_fonts(monkeypatch, fonts, text):
    monkeypatch.setattr(sheet_text, "FONTS", fonts)
    for cached in (sheet_text._choose_font, sheet_text._runs, sheet_text._width):
        cached.cache_clear()
    assert compose_grid([[Image.new("RGB", (8, 8))]], [text], [text], text).width > 160
    if not fonts and "→" in text:
        assert "".join(run for _, run in sheet_text._runs(text)) == "a>b - z"
    for cached in (sheet_text._choose_font, sheet_text._runs, sheet_text._width):
        cached.cache_clear()


@pytest.mark.parametrize("values, words", [
    ({"cell": 8}, "cell is 8; .* 16 to 2048"), ({"font_size": 97}, "font_size is 97; .* 8 to 96"),
    ({"gap": -1}, "gap is -1; .* 0 to 200"), ({"cell": 99.5}, "cell is 99.5"), ({"format": "pgn"}, "mean 'png'")])
def test_a_style_out_of_range_names_the_value_and_the_range(values, words):
    with pytest.raises(UserError, match=words):
        SheetStyle(**values)


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_axes_that_are_neither_rows_nor_columns_become_pages_in_order(sweep):
    found = pages(sweep, "prompt", "strength")
    assert [page.caption for page in found] == [f"checkpoint: step {step} · seed: {seed}" for step in (1, 2)
                                                for seed in (7, 8)]
    assert found[3].row_labels == ("zqx", "zqx, <b>smile</b>")
    assert found[3].column_labels == (NO_LORA, "0.5", "0.75", "1")
    facts = found[3].cells[1][2].facts
    assert (facts["step"], facts["strength"], facts["prompt"], facts["seed"]) == (2, 0.75, "zqx, <b>smile</b>", 8)


def test_a_leading_column_holds_the_pictures_without_the_lora(sweep):
    page = plan_pages(sweep, "seed", "checkpoint")[-1]
    assert [row[0].facts["strength"] for row in page.cells] == [0, 0]
    assert [row[0].facts["seed"] for row in page.cells] == [7, 8]
    assert [row[0].facts["prompt"] for row in page.cells] == ["zqx, <b>smile</b>"] * 2


@pytest.mark.parametrize("rows, columns", [("checkpoint", "strength"), ("strength", "checkpoint"), ("prompt", "seed")])
def test_no_column_without_the_lora_where_it_is_no_value_of_the_columns(sweep, rows, columns):
    assert NO_LORA not in plan_pages(sweep, rows, columns)[0].column_labels


def test_without_rows_or_columns_there_is_one_of_them(sweep):
    page = plan_pages(sweep, "", "seed")[0]
    assert (len(page.cells), page.row_labels, page.column_labels) == (1, (), ("7", "8"))
    assert [len(row) for row in plan_pages(sweep, "seed", "")[0].cells] == [1, 1]


@pytest.mark.parametrize("rows, columns, words", [
    ("sead", "strength", "mean 'seed'.*checkpoint, prompt, seed, strength"), ("seed", "base", "unknown axis 'base'"),
    ("seed", "seed", "both 'seed'.*checkpoint, strength, prompt, seed")])
def test_axes_that_cannot_be_are_named_with_the_valid_ones(sweep, rows, columns, words):
    with pytest.raises(UserError, match=words):
        plan_pages(sweep, rows, columns)


@pytest.mark.parametrize("axes, without, chosen", [
    ((checkpoints(3), strength_axis((0.5, 0.7, 1, 2)), prompt_axis("ab")), False, ("checkpoint", "strength")),
    ((checkpoints(3), strength_axis((1,)), prompt_axis("ab"), seed_axis((1, 2))), False, ("prompt", "checkpoint")),
    ((checkpoints(1), strength_axis((1,)), prompt_axis("ab"), seed_axis((1, 2, 3))), True, ("seed", "checkpoint")),
    ((checkpoints(1), strength_axis((1,)), prompt_axis("ab"), seed_axis((1, 2, 3))), False, ("prompt", "seed")),
    ((strength_axis((0.5, 1)),), False, ("", "strength")), ((prompt_axis("ab"),), False, ("prompt", ""))])
def test_default_axes_suit_the_sweep(tmp_path, axes, without, chosen):
    assert choose_axes(Sweep(tmp_path, "", axes, {}, without)) == chosen


# -- a sweep's sheets --------------------------------------------------------------------------------------------------


def test_every_picture_stands_in_its_place_on_its_page(sweep):
    colours = fill(sweep)
    paths = write_sheets(sweep, SMALL, "prompt", "strength")
    assert [path.name for path in paths] == ["grid.png", "grid-2.png", "grid-3.png", "grid-4.png"]
    for path, page in zip(paths, plan_pages(sweep, "prompt", "strength"), strict=True):
        assert centres(path, page) == [[colours[cell.key] for cell in row] for row in page.cells]


def test_a_sheet_of_nothing_but_missing_failed_and_damaged_cells_is_written(tmp_path):
    sweep = one_row(tmp_path, 3)
    for cell, text in zip(sweep.cells, ("", None, "CUDA out of memory " * 40), strict=True):
        if text is None:
            sweep.save(cell, Image.new("RGB", (32, 32)))
            sweep.picture(cell).write_bytes(b"no picture")
        elif text:
            sweep.fail(cell, text)
    found = numpy.array(Image.open(write_sheets(sweep, SheetStyle(cell=100, gap=0), "prompt", "strength")[0]))
    missing, damaged, failed = (found[-98:-2, found.shape[1] - right : found.shape[1] - right + 96].astype(int)
                                for right in (298, 198, 98))
    assert abs(numpy.median(missing[..., 0]) - numpy.median(missing[..., 1])) < 4 and missing.min() < 160
    for box in (damaged, failed):
        assert numpy.median(box[..., 0]) - numpy.median(box[..., 1]) > 10 and box.min() < 100


def test_leftover_pages_of_a_longer_set_go_and_nothing_else(sweep):
    fill(sweep)
    write_sheets(sweep, SMALL, "prompt", "strength")
    (sweep.folder / "grid-mine.png").write_bytes(b"mine")
    (sweep.folder / "grid-2.json").write_bytes(b"mine")
    paths = write_sheets(sweep, SheetStyle(cell=64, format="webp"), "strength", "checkpoint")
    assert [path.name for path in paths] == ["grid.webp", "grid-2.webp", "grid-3.webp", "grid-4.webp"]
    write_sheets(Sweep(sweep.folder, "", (seed_axis((7, 8)),)), SMALL)
    left = {path.name for path in sweep.folder.glob("*.*")}
    assert left == {"grid.png", "grid-mine.png", "grid-2.json"}
    assert Image.open(sweep.folder / "grid.png").format == "PNG"


def test_cells_are_shaped_as_the_pictures_and_before_that_as_the_shared_size(tmp_path):
    sweep = one_row(tmp_path, 1)
    assert sheets.cell_box(sweep, SheetStyle(cell=64)) == (64, 64)
    told = Sweep(tmp_path, "", sweep.axes, {"width": 512, "height": 1024})
    assert sheets.cell_box(told, SheetStyle(cell=64)) == (32, 64)
    fill(sweep, (80, 20))
    assert sheets.cell_box(sweep, SheetStyle(cell=64)) == (64, 16)


@pytest.mark.parametrize("style", [SheetStyle(cell=256, format="webp"), SheetStyle(cell=2048)])
def test_a_sheet_too_large_for_its_format_is_divided_and_repeats_the_picture_without_the_lora(tmp_path, style):
    sweep = one_row(tmp_path, 100, without=True)
    found = pages(sweep, "prompt", "strength", style)
    labels = [label for page in found for label in page.column_labels]
    assert labels.count(NO_LORA) == len(found) > 1
    assert [label for label in labels if label != NO_LORA] == [str(number) for number in range(1, 101)]
    assert found[0].caption == f"part 1 of {len(found)}"
    for page in found:
        layout = sheet.Layout(page, "Row", style, (style.cell, style.cell))
        assert layout.width <= sheet.LONGEST_SIDE[style.format] and layout.width * layout.height <= sheet.MOST_PIXELS


def test_a_tall_sheet_is_divided_between_rows(tmp_path):
    sweep = Sweep(tmp_path, "", (strength_axis((1, 2)), seed_axis(range(100))))
    found = pages(sweep, "seed", "strength", SheetStyle(format="webp"))
    assert [label for page in found for label in page.row_labels] == [str(seed) for seed in range(100)]
    assert len(found) == 2 and found[1].cells[0][1].facts["seed"] == 50


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_links_every_picture_and_loads_nothing_from_elsewhere(sweep):
    fill(sweep)
    page = write_html(sweep, SMALL, "prompt", "strength").read_text("utf-8")
    links = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert links == {f"cells/{cell.key}.png" for cell in sweep.everything}
    assert all((sweep.folder / link).is_file() for link in links)
    assert re.findall(r'href="#([^"]+)"', page) == re.findall(r'section id="([^"]+)"', page)
    assert "//" not in page.replace("/>", "") and page.count('loading="lazy"') == page.count("<td>")


def test_texts_on_the_page_are_escaped_and_its_facts_read_back(sweep):
    sweep.fail(sweep.cells[0], "<i>no</i>")
    sweep.save(sweep.cells[1], Image.new("RGB", (8, 8)))
    page = write_html(sweep, SMALL, "prompt", "strength", title="</title><script>").read_text("utf-8")
    assert "<b>smile" not in page and "&lt;b&gt;smile" in page and "&lt;i&gt;no" in page
    assert "&lt;/title&gt;&lt;script&gt;" in page and "</title><script>" not in page
    assert "not made yet" in page and "1 of 28 images" in page
    plan = json.loads(re.search(r'id="plan">(.*?)</script>', page)[1])
    assert plan["axes"][2][1] == {"prompt": "zqx, <b>smile</b>"} and plan["shared"] == {"steps": 20}


def test_a_seed_that_a_browser_would_round_is_text_on_the_page(tmp_path):
    """https://github.com/n0va39/ComfyUI-EasyUseAnima/issues/784"""
    axes = (checkpoints(1), Axis("seed", (Choice("big", {"seed": 2**53 + 1}), Choice("small", {"seed": 2**53 - 1}))))
    old = Sweep(tmp_path / "old", "", axes, {"noise_seed": 2**64 - 1, "steps": 20})
    plan = json.loads(re.search(r'id="plan">(.*?)</script>', write_html(old, SMALL).read_text("utf-8"))[1])
    assert plan["axes"][1] == [{"seed": "9007199254740993"}, {"seed": 9007199254740991}]
    assert plan["shared"] == {"noise_seed": "18446744073709551615", "steps": 20}


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_table_marks_its_rows_and_grows_with_its_content():
    small = table_picture(["name", "score"], [["a", "0.5"]])
    marked = table_picture(["name", "score"], [["a", "0.5"], [LONG * 3, "0.25"]], {1: "palegreen"}, "Scores", "note")
    assert marked.width > small.width and marked.height > small.height
    found = {tuple(pixel) for pixel in numpy.array(marked).reshape(-1, 3)}
    assert (152, 251, 152) in found and (152, 251, 152) not in {
        tuple(pixel) for pixel in numpy.array(small).reshape(-1, 3)}


def test_numbers_stand_at_the_right_and_texts_at_the_left(monkeypatch):
    aligns = {}
    write = Pen.write
    monkeypatch.setattr(Pen, "write", lambda self, draw, lines, at, ink="black", width=0, align="left": (
        aligns.update({" ".join(lines): align}), write(self, draw, lines, at, ink, width, align))[1])
    table_picture(["name", "score"], [["step 1", "0.5 ± 0.1"], ["2", "-3 %"], ["b", "–"], ["c", ""]])
    assert {aligns[text] for text in ("score", "0.5 ± 0.1", "-3 %", "–")} == {"right"}
    assert {aligns[text] for text in ("name", "step 1", "2")} == {"left"}


def test_a_table_longer_than_a_picture_says_how_many_rows_it_leaves_off(monkeypatch):
    written = []
    monkeypatch.setattr(Pen, "write", lambda self, draw, lines, *rest, **more: written.append(" ".join(lines)))
    found = table_picture(["a", "b"], [["x", "1"]] * 2000)
    left_off = int(re.match(r"(\d+) more rows are not shown", written[-1])[1])
    assert found.height < 16_383 and written.count("x") == 2000 - left_off < 2000


def test_an_unknown_colour_and_an_impossible_font_size_are_named():
    with pytest.raises(UserError, match="'greenish' is not a colour"):
        table_picture(["a"], [["b"]], {0: "greenish"})
    with pytest.raises(UserError, match="font_size is 200"):
        table_picture(["a"], [["b"]], font_size=200)
