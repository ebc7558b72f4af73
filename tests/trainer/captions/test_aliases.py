"""Classes of tags, aliases and implications, and a user's CSV."""

import pytest

from lora_bootstrap.sandbox.world import ATTRIBUTES, CONTEXT
from lora_bootstrap.trainer.captions.aliases import OWN_RULES, TagRules, load_rules
from lora_bootstrap.trainer.captions.classes import ORDER, tag_class
from lora_bootstrap.trainer.common.errors import UserError


@pytest.mark.parametrize(("tag", "name"), [
    ("1girl", "class"), ("woman", "class"), ("solo", "count"), ("multiple_girls", "count"),
    ("fox ears", "identity"), ("very long hair", "identity"), ("hair between eyes", "identity"),
    ("freckles", "identity"),
    ("red dress", "outfit"), ("hair ribbon", "outfit"), ("tail ornament", "outfit"), ("black footwear", "outfit"),
    ("Closed_Eyes", "expression"), ("sad smile", "expression"), (">_<", "expression"),
    ("holding cup", "pose"), ("hand on own cheek", "pose"), ("wet hair", "pose"), ("looking at viewer", "pose"),
    ("from behind", "view"), ("close-up", "view"), ("cat on head", "object"), ("hatsune miku", "other"),
    ("soft frontal light", "lighting"), ("backlighting", "lighting"), ("textured wall", "background"),
    ("white background", "background"), ("night sky", "background"), ("1990s (style)", "style"),
    ("blue theme", "style"),
    ("best quality", "quality"), ("score_9", "quality"), ("watermark", "quality"),
])
def test_tags_are_told_apart_by_what_they_speak_of(tag, name):
    assert tag_class(tag) == name and name in ORDER


def test_every_word_of_the_sandbox_has_the_class_of_its_attribute():
    classes = {"angle": "view", "framing": "view", "outfit": "outfit", **{name: name for name in CONTEXT[2:]}}
    for attribute, tags in ATTRIBUTES.items():
        assert {tag_class(tag) for tag in tags} == {classes.get(attribute, "identity")}, attribute


def test_the_own_table_leaves_the_sandboxs_words_alone():
    words = [tag for tags in ATTRIBUTES.values() for tag in tags]
    assert [OWN_RULES.canonical(tag) for tag in words] == words


def test_the_own_tables_are_in_order():
    for old, new in OWN_RULES.aliases.items():
        assert OWN_RULES.canonical(new) == new != old
    for one, _ in OWN_RULES.implications:
        assert OWN_RULES.canonical(one) == one and one not in OWN_RULES.implied(one)


def test_an_alias_leads_to_the_name_that_is_used():
    rules = TagRules({"a": "b", "b": "c d"})
    assert rules.canonical("A") == "c d" and rules.canonical("x") == "x"
    assert OWN_RULES.canonical("Twin_Tails") == "twintails"


@pytest.mark.parametrize(("tag", "implied"), [
    ("starry sky", {"sky", "night sky", "night"}), ("fox_ears", {"animal ears"}), ("white dress", {"dress"}),
    ("striped thighhighs", {"thighhighs"}), ("absurdly long hair", {"long hair", "very long hair"}),
    ("boxing ring", set()), ("no panties", set()), ("hair tie", set()), ("dress", set()), ("red hair", set()),
])
def test_a_tag_implies_what_it_says_besides_also_by_way_of_others(tag, implied):
    assert set(OWN_RULES.implied(tag)) == implied


def test_rules_of_a_users_csv_come_on_top_and_overrule(tmp_path):
    (tmp_path / "alias.csv").write_bytes(
        "\ufefffrom,to\r\ntwin_tails,pigtail hair\r\n\r\n\"say, hi\",greeting\r\n".encode())
    (tmp_path / "implied.csv").write_text("id,antecedent_name,consequent_name\n1,miko,japanese_clothes\n")
    rules = load_rules(tmp_path / "alias.csv", tmp_path / "implied.csv")
    assert rules.canonical("twin tails") == "pigtail hair" and rules.canonical("say, hi") == "greeting"
    assert rules.canonical("pony tail") == "ponytail"
    assert rules.implied("miko") == ("japanese clothes",) and rules.implied("fox ears") == ("animal ears",)
    assert load_rules() == OWN_RULES


def test_a_csv_without_a_head_is_read_from_its_first_line(tmp_path):
    (tmp_path / "a.csv").write_text("foo, bar\n")
    assert load_rules(tmp_path / "a.csv", base=TagRules()).aliases == {"foo": "bar"}


def test_an_alias_that_turns_an_own_one_round_is_no_circle(tmp_path):
    (tmp_path / "a.csv").write_text("twintails,twin tails\n")
    assert load_rules(tmp_path / "a.csv").canonical("twintails") == "twin tails"


@pytest.mark.parametrize(("data", "words"), [
    (b"a,b\nc\n", "line 2 of .* is 'c'; each line needs two tags"),
    (b"alias,tag\nx,\n", "line 2"),
    (b"a,b\nb,a\n", "aliases form a circle: a -> b -> a"),
    (b"a,a\n", "circle"),
    (b"\xff\xfe\x00", "not a CSV file in UTF-8"),
])
def test_a_csv_that_cannot_be_used_is_told_with_its_line(tmp_path, data, words):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(UserError, match=words):
        load_rules(tmp_path / "a.csv", base=TagRules())
    with pytest.raises(UserError, match="cannot read"):
        load_rules(tmp_path / "none.csv")
