"""Label files, and how a tag is written with and without underscores."""

import json

import pytest

from lora_bootstrap.trainer.captions.tags import is_face, spaced, underscored
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.tagging.labels import Label, find_labels, read_labels

WD = "tag_id,name,category,count\n9999999,general,9,807858\n470575,1girl,0,42\n1,hatsune_miku,4,3\n2,a_(b),0,1\n"
PIXAI = 'id,tag_id,name,category,count,ips\n0,1,1girl,0,4,[]\n1,2,"say_""hi"",_you",4,1,"[""a"", ""b""]"\n'
CL = {"0": {"tag": "general", "category": "Rating"}, "1": {"tag": "best quality", "category": "Quality"},
      "2": {"tag": "long_hair", "category": "General"}, "3": {"tag": "who", "category": "Unheard-of"}}
CL2 = {"num_tags": 2, "idx_to_tag": {"1": "who_(x)", "0": "1girl"}, "tag_to_category": {"1girl": "General",
                                                                                     "who_(x)": "Character"}}


@pytest.mark.parametrize(("name", "text", "labels"), [
    ("selected_tags.csv", WD, [("general", "rating"), ("1girl", "general"), ("hatsune_miku", "character"),
                               ("a_(b)", "general")]),
    ("selected_tags.csv", "\ufeff" + WD.replace("\n", "\r\n"), [("general", "rating"), ("1girl", "general"),
                                                               ("hatsune_miku", "character"), ("a_(b)", "general")]),
    ("selected_tags.csv", PIXAI, [("1girl", "general"), ('say_"hi",_you', "character")]),
    ("tag_mapping.json", json.dumps(CL), [("general", "rating"), ("best quality", "quality"),
                                          ("long_hair", "general"), ("who", "general")]),
    ("model_vocabulary.json", json.dumps(CL2), [("1girl", "general"), ("who_(x)", "character")]),
    ("my_tags.csv", WD, [("general", "rating"), ("1girl", "general"), ("hatsune_miku", "character"),
                         ("a_(b)", "general")]),
])
def test_each_familys_label_file_is_read(tmp_path, name, text, labels):
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(find_labels(tmp_path)) == tuple(Label(*pair) for pair in labels)


@pytest.mark.parametrize(("name", "data", "words"), [
    ("selected_tags.csv", b"name,count\n1girl,3\n", "no column category"),
    ("selected_tags.csv", b"tag_id,name,category\n1,1girl,0\n2,long", "line 3 is cut short"),
    ("selected_tags.csv", b"tag_id,name,category\n", "it has no tags"),
    ("selected_tags.csv", b"", "no column"),
    ("selected_tags.csv", b"\x00\xff\xfe\x80", "decode"),
    ("tag_mapping.json", b'{"0": {"tag": "a"', "not a tagger's label file"),
    ("tag_mapping.json", b'[1, 2]', "it is not a table"),
    ("tag_mapping.json", b'{"0": {"tag": "a", "category": "b"}, "2": {"tag": "c", "category": "b"}}', "gaps"),
    ("tag_mapping.json", b'{"0": {"tag": "a"}}', "category"),
    ("tag_mapping.json", b'{"0": "a"}', "not a tagger's label file"),
])
def test_a_damaged_label_file_is_told_in_one_line(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words) as caught:
        read_labels(find_labels(tmp_path))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_folder_without_a_clear_label_file_is_told(tmp_path):
    with pytest.raises(UserError, match="found none.*selected_tags.csv"):
        find_labels(tmp_path)
    for name in ("a.csv", "b.csv", "layout.json"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match="found a.csv, b.csv"):
        find_labels(tmp_path)


@pytest.mark.parametrize("face", ["^_^", ">_<", "(o)_(o)", "||_||", "x_x", "6_9", ">_o", "+_-", "0_0", "._."])
def test_faces_keep_their_underscore(face):
    assert is_face(face) and spaced(face) == face


@pytest.mark.parametrize(("tag", "text"), [("long_hair", "long hair"), ("d_pad", "d pad"), ("a_b_c", "a b c"),
                                           ("hatsune_miku_(append)", "hatsune miku (append)"), ("v_arms", "v arms")])
def test_other_tags_lose_it_and_get_it_back(tag, text):
    assert spaced(tag) == text and underscored(text) == tag
