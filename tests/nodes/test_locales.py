"""The pack's texts in other languages: complete, built from one file a language, and true to the English ones."""

import json
import re
import sys
from pathlib import Path

import pytest

from lora_bootstrap.nodes.extension import NODES

sys.path.insert(0, str(Path(__file__).parent))
from make_locales import (  # noqa: E402
    LANGUAGES,
    LOCALES,
    REFERENCE,
    SYNTAX,
    TABLES,
    TITLES,
    Catalogue,
    Text,
    all_texts,
    built,
    place_of,
    titles_module,
)

sys.path.pop(0)

REMEDY = "run: python tests/nodes/make_locales.py"
MOST_UNTRANSLATED = 40
"""Texts of a language that may be shown in English until somebody translates them: those of two or three new nodes."""
INFOS = {info["name"].removeprefix("LoraBootstrap_"): info for info in (node.object_info() for node in NODES)}
TEXTS = all_texts(list(INFOS.values()))
CATALOGUES = {language: Catalogue.read(language) for language in LANGUAGES}
NUMBER = re.compile(r"(?<!\\)\d+(?:\.\d+)?")
SENTENCES = {text.row: text for text in TEXTS if text.table == "texts"}

in_each_language = pytest.mark.parametrize("catalogue", CATALOGUES.values(), ids=CATALOGUES)


def translated(catalogue):
    """(English text, its translation as it is in the catalogue) of each description and tooltip."""
    for row, text in SENTENCES.items():
        if words := catalogue.rows["texts"].get(row):
            yield text, words


def options_of(info, name):
    """The choices of an input; none if it is no combo."""
    for group in ("required", "optional"):
        kind, options = info["input"].get(group, {}).get(name, (None, {}))
        if kind == "COMBO":
            return options["options"]
    return []


# -- built, complete ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_what_comfyui_reads_is_what_the_nodes_and_the_catalogue_say(language):
    files = built(TEXTS, CATALOGUES.get(language))
    assert {path.stem for path in (LOCALES / language).iterdir()} == set(files) - {"panels"}, REMEDY
    for name, content in files.items():
        assert json.loads(place_of(language, name).read_text("utf-8")) == content, REMEDY


def test_the_reader_knows_the_help_pages_by_their_english_titles():
    assert TITLES.read_text("utf-8") == titles_module(TEXTS), REMEDY


@in_each_language
def test_a_catalogue_has_a_row_for_each_text_and_for_no_other(catalogue):
    wanted = catalogue.follow(TEXTS).rows
    for table in TABLES:
        new, gone = wanted[table].keys() - catalogue.rows[table], catalogue.rows[table].keys() - wanted[table]
        assert (sorted(new), sorted(gone)) == ([], []), REMEDY


@in_each_language
def test_few_texts_wait_for_their_translation(catalogue):
    assert len(waiting := catalogue.untranslated()) <= MOST_UNTRANSLATED, waiting


def test_a_text_that_changes_is_shown_in_english_until_it_is_translated_again():
    place = ("nodeDefs", "LoraBootstrap_X", "inputs", "steps", "tooltip")
    catalogue = Catalogue("zh", {"texts": {"Training steps.": "训练步数。"}})
    before, after = (Text("texts", english, "X", place) for english in ("Training steps.", "Steps of the training."))
    assert built([before], catalogue.follow([before]))["nodeDefs"]["LoraBootstrap_X"]["inputs"]["steps"] == {
        "tooltip": "训练步数。"}
    changed = catalogue.follow([after])
    assert changed.untranslated() == ["texts: Steps of the training."]
    assert built([after], changed) == {}


def test_a_row_of_one_node_comes_before_that_of_all():
    catalogue = Catalogue("zh", {"names": {"after": "之后", "ViewPrompts.after": "后置文本"}})
    texts = [Text("names", "after", node, ("nodeDefs", node, "inputs", "after", "name"))
             for node in ("ViewPrompts", "SweepCell")]
    assert [catalogue.follow(texts).translate(text) for text in texts] == ["后置文本", "之后"]


def test_a_reference_to_what_has_no_name_is_an_error():
    text = Text("texts", "Set steps.", "X", ("nodeDefs", "X", "description"))
    catalogue = Catalogue("zh", {table: {} for table in (*TABLES, "host")})
    catalogue.rows["texts"] = {"Set steps.": "设置[[steps]]。"}
    with pytest.raises(KeyError, match="steps"):
        catalogue.translate(text)


# -- true to the English texts -----------------------------------------------------------------------------------------

@in_each_language
def test_a_translation_calls_nodes_and_inputs_as_they_are_called_on_the_screen(catalogue):
    """By a reference, so that a name that is changed is changed wherever it is mentioned."""
    titles = {title: re.compile(rf"\b{re.escape(title.removesuffix(' (Bootstrap)'))}\b")
              for title in (*catalogue.rows["nodes"], *catalogue.rows["host"])}
    for text, words in translated(catalogue):
        named = {found[1] for found in REFERENCE.findall(words)}
        info = INFOS[text.node]["input"]
        inputs = {name for group in ("required", "optional") for name in info.get(group, {}) if "_" in name}
        mentioned = {title for title, pattern in titles.items() if pattern.search(text.english)}
        mentioned |= {name for name in inputs if re.search(rf"\b{name}\b(?!\.\w)", text.english)}
        assert mentioned - named == set(), (text.english, words)


@in_each_language
def test_a_translation_has_the_numbers_and_the_choices_of_the_english_text(catalogue):
    for text, words in translated(catalogue):
        assert set(NUMBER.findall(text.row)) <= set(NUMBER.findall(words)), (
            text.english, words)
        choices = [choice for choice in options_of(INFOS[text.node], text.path[-2])
                   if re.search(rf"(?:^|[ ,.:]){re.escape(str(choice))}:", text.row)]
        assert [choice for choice in choices if choice not in words] == [], (text.english, words)


@in_each_language
def test_a_translation_keeps_to_the_glossary(catalogue):
    """Or has the English word, as the name of a choice."""
    strays = []
    for text, words in translated(catalogue):
        shown = catalogue.translate(text).lower()
        plain = re.sub(r"\S*[/_<>=]\S*", " ", text.row)  # paths and ids are not words
        strays += [(term, text.english, words) for term, allowed in catalogue.rows["glossary"].items()
                   if re.search(rf"(?<![\w:]){term}s?(?![\w:])", plain, re.IGNORECASE)
                   and not any(word.lower() in shown for word in (*allowed, term))]
    assert strays == []


@in_each_language
def test_no_translation_has_what_a_front_end_reads_as_syntax(catalogue):
    for table in TABLES[:TABLES.index("panels")]:
        for words in filter(None, catalogue.rows[table].values()):
            assert not SYNTAX.search(words.replace("{presets}", "")), words


@in_each_language
def test_a_panels_text_has_the_values_of_the_english_one(catalogue):
    for english, words in catalogue.rows["panels"].items():
        values = re.findall(r"{\w+}", english)
        assert words is None or sorted(re.findall(r"{\w+}", words)) == sorted(values), words


def test_every_language_of_a_catalogue_is_one_that_the_panels_ask_for():
    words = (LOCALES.parent / "web" / "common" / "words.js").read_text("utf-8")
    assert json.loads(re.search(r"LANGUAGES = (\[.*\])", words)[1]) == list(LANGUAGES)


def test_a_korean_particle_fits_the_name_before_it():
    """Which of two forms follows depends on whether the last syllable ends in a consonant."""
    pairs = re.compile(r"\[\[(?:(\w+)\.)?([^\]]+)\]\](은|는|이|가|을|를|과|와)(?![가-힣])")
    catalogue = CATALOGUES["ko"]
    for text, words in translated(catalogue):
        for node, name, particle in pairs.findall(words):
            last = catalogue.named(text.node, node or None, name)[-1]
            if "가" <= last <= "힣":
                closed = (ord(last) - ord("가")) % 28 > 0
                assert (particle in "은이을과") == closed, (name, particle, words)
