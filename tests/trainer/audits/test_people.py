"""What is in the way of a person, by captions and by EXIF; what belongs to a character is not held against it."""

from dataclasses import replace
from datetime import datetime

import pytest
from PIL import ExifTags, Image

from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.trainer.audits.audit import AuditConfig
from lora_bootstrap.trainer.audits.cameras import camera_findings, is_phone
from lora_bootstrap.trainer.audits.checks import CODES
from lora_bootstrap.trainer.audits.people import TROUBLES, people_findings
from lora_bootstrap.trainer.captions.coverage import plain
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.pictures.images import Camera, read_camera

from ...helpers.audits import run_audit

OTHERS = ("1girl, smile, front view, upper body",) * 7


def codes(caption, *others):
    return [finding.code for finding in people_findings([caption, *(others or OTHERS)])[0]]


# -- by captions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caption", "code"), [
    ("1girl, solo, mask, mouth mask, upper body", "covered face"), ("1boy, sunglasses, outdoors", "covered face"),
    ("1girl, hand over own face, embarrassed", "covered face"), ("1girl, hair_over_eyes", "covered face"),
    ("a woman wearing sunglasses on a beach", "covered face"), ("1girl, head out of frame, dress", "cropped head"),
    ("1girl, cropped legs, standing", "cropped limbs"), ("1girl, full body, feet out of frame", "cropped limbs"),
    ("a man in harsh sunlight, deep shadows", "hard shadow"), ("1boy, faceless, faceless male", "covered face"),
    ("1girl, faceless female", "covered face"), ("1girl, 1boy, faceless male, sunglasses", "covered face"),
    ("a woman in a mask beside a wall", "covered face"), ("a man in sunglasses in a chair", "covered face")])
def test_what_is_in_the_way_is_found_in_tags_and_in_prose(caption, code):
    assert codes(caption) == [code] and code in CODES


@pytest.mark.parametrize("caption", [
    "1girl, fox mask, mask on head, festival", "1girl, sunglasses, eyewear on head", "1girl, goggles, goggles on head",
    "1girl, surgical mask, mask pull, smile", "1boy, holding mask, mask removed", "a girl without a mask",
    "1girl, upper body, cropped legs", "1girl, cowboy shot, feet out of frame", "1girl, close-up, cropped arms",
    "1girl, hair over one eye", "1girl, eyepatch", "1girl, glasses", "1girl, bridal veil", "1girl, soft shadows",
    "1girl, faceless male, 1boy", "1girl, 1boy, faceless, faceless male, hetero", "1boy, 1girl, faceless female",
    "a woman with a mask hanging on the wall", "a girl and a masquerade mask on the table", "1girl, mask on wall",
    "a man with his sunglasses in his hand", "goggles on a desk beside a boy",
    "1girl, masked ball poster", "", "1girl, head tilt, hand on own hip"])
def test_what_leaves_the_face_and_the_limbs_to_be_seen_is_not(caption):
    assert codes(caption) == []


def test_what_most_images_have_is_the_characters_own():
    masked = "1boy, gas mask, standing"
    assert codes(masked, *(masked,) * 3, *OTHERS[:4]) == [], "half of the set"
    assert codes(masked, *(masked,) * 1, *OTHERS[:4]) == ["covered face"]
    assert codes(masked, masked) == ["covered face"], "two images are too few to tell"


def test_a_skin_tone_that_is_not_most_of_the_sets_is_named():
    captions = ["1girl, pale skin", "1girl, pale_skin, smile", "a woman with fair skin", "1girl, tan, beach", "1girl"]
    assert [[finding.code for finding in row] for row in people_findings(captions)] == [[], [], [], ["skin tone"], []]
    assert "is tagged 'tan', most of the set 'pale skin'" in people_findings(captions)[3][0].text
    even = ["1girl, dark-skinned female, dark skin", "1girl, tan jacket", "1girl, tan background, dark skin"]
    assert people_findings(even) == [[], [], []], "a colour of something else"
    assert people_findings(["1girl, tan", "1girl, pale skin"]) == [[], []], "nobody knows which is right"


def test_the_words_are_as_captions_are_compared_and_belong_to_one_row():
    words = [word for trouble in TROUBLES for word in trouble.words]
    assert [word for word in words if plain(word) != word] == [] and len(words) == len(set(words))
    assert {trouble.code for trouble in TROUBLES} <= set(CODES)


# -- by EXIF -----------------------------------------------------------------------------------------------------------


def photograph(path, taken="", length=None, make="", model="", format="JPEG"):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = make, model
    own = exif.get_ifd(ExifTags.IFD.Exif)
    if taken:
        own[ExifTags.Base.DateTimeOriginal] = taken
    if length is not None:
        own[ExifTags.Base.FocalLengthIn35mmFilm] = length
    Image.new("RGB", (96, 96), "tan").save(path, format=format, exif=exif)
    return path


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_is_read_from_every_format_that_holds_it(tmp_path, format):
    path = photograph(tmp_path / "a", "2019:05:02 10:11:12", 26, "Apple", "iPhone 12", format)
    assert read_camera(path) == Camera(datetime(2019, 5, 2, 10, 11, 12), 26, "Apple iPhone 12")


def test_a_model_that_names_its_maker_is_named_once(tmp_path):
    assert read_camera(photograph(tmp_path / "a", make="Canon", model="Canon EOS 5D")).model == "Canon EOS 5D"


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "1980:01:01 00:00:00", "yesterday", "2019:13:45 99:99:99",
                                   "    :  :     :  :  ", "9999:01:01 00:00:00", "\0\0"])
def test_a_clock_that_was_never_set_is_no_date(tmp_path, taken):
    assert read_camera(photograph(tmp_path / "a", taken, 50)) == Camera(None, 50, "")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_exif_breaks_nothing(tmp_path):
    whole = photograph(tmp_path / "a.jpg", "2019:05:02 10:11:12", 26, "Apple", "iPhone 12").read_bytes()
    start = whole.index(b"Exif\0\0")
    for place in range(start, start + 160):
        for byte in (0, 0x7F, 0xFF):
            (tmp_path / "b.jpg").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1:])
            camera = read_camera(tmp_path / "b.jpg")
            assert camera.taken is None or camera.taken.year >= 1990
            assert camera.focal_length is None or camera.focal_length > 0
    (tmp_path / "c.txt").write_text("no image")
    assert read_camera(tmp_path / "c.txt") == Camera() == read_camera(tmp_path / "missing.jpg")


@pytest.mark.parametrize(("model", "phone"), [
    ("Apple iPhone 12", True), ("samsung SM-G991B", True), ("Google Pixel 7", True), ("HUAWEI P30", True),
    ("SAMSUNG NX300", False), ("SONY ILCE-7M3", False), ("Canon EOS 5D", False),
    ("NIKON CORPORATION NIKON D750", False), ("", False), ("FUJIFILM X-T4", False),
    ("OPPO Find X5", True), ("Sony Xperia 5", True), ("ASUS_I006D", True), ("LG Electronics LM-G820", True),
    ("Google Nexus 6P", True), ("LGE Nexus 5", True), ("Sony XQ-AU52", True), ("SONY DSC-RX100", False),
    ("Panasonic DMC-LX10", False), ("Leica Camera AG LEICA Q2", False), ("Pixelink PL-D", False)])
def test_phones_are_known_by_their_model(model, phone):
    assert is_phone(Camera(model=model)) is phone


def years(*numbers):
    return [Camera(datetime(number, 6, 1), 85, "Canon EOS 5D") for number in numbers]


def test_images_taken_years_from_the_others_are_named():
    found, advice = camera_findings(years(2020, 2020, 2021, 2021, 2012))
    assert [[finding.code for finding in row] for row in found] == [[], [], [], [], ["date"]]
    assert found[4][0].text.startswith("taken in 2012, 8 years from most of the set: a person changes")
    assert advice == ("photographs from 2012 to 2021: age and looks change, so take those of about two years, or say "
                      "the age in captions.",)
    assert camera_findings(years(2020, 2021, 2022)) == ([[], [], []], ())
    assert camera_findings([Camera()] * 4) == ([[]] * 4, ())


def test_a_wide_lens_and_a_phone_are_notes_and_a_set_of_phone_images_is_one_line():
    phone, wide, long = Camera(None, 26, "Apple iPhone 12"), Camera(None, 24, "Canon EOS 5D"), Camera(None, 85, "Canon")
    found, advice = camera_findings([phone, wide, long, long])
    assert found[0][0].text.startswith("taken with a phone (Apple iPhone 12) at 26 mm: correct its distortion")
    assert found[1][0].text.startswith("taken at 24 mm (of a 35 mm film): what is near looks too large")
    assert found[2:] == [[], []] and advice == ()
    found, advice = camera_findings([phone] * 5 + [replace(phone, model="Google Pixel 7"), long])
    assert found == [[]] * 7
    assert advice[0].startswith("6 of 7 images are a phone's (Apple iPhone 12 and 1 other): correct their distortion")


# -- in an audit -------------------------------------------------------------------------------------------------------


def test_an_audit_says_so_for_a_person_and_not_for_a_style(tmp_path):
    for number in range(5):
        photograph(tmp_path / f"{number}.jpg", f"{2020 if number else 2011}:05:02 10:11:12", 85, "Canon", "EOS")
        (tmp_path / f"{number}.txt").write_text("1girl, sunglasses" if number == 1 else "1girl, smile")
    ours = {"covered face", "date", "lens", "hard shadow", "cropped head", "cropped limbs"}
    for purpose, expected in (("real person", {"covered face", "date"}), ("character", {"covered face", "date"}),
                              ("style", set()), ("object", set()), ("bootstrap", set())):
        found = run_audit(load_folder(tmp_path), AuditConfig(family="sandbox", purpose=purpose, workers=1))
        assert set(found.counts) & ours == expected, purpose
        assert any("photographs from 2011 to 2020" in line for line in found.advice) is bool(expected)


def test_the_shipped_sets_have_none_of_it():
    folders = [PICTURES_DIR, *(path for path in (PICTURES_DIR.parent / "dataset").iterdir() if path.is_dir())]
    assert len(folders) == 3
    for folder in folders:
        samples = load_folder(folder).samples
        assert people_findings([sample.caption for sample in samples]) == [[] for _ in samples]
        assert camera_findings([read_camera(sample.path) for sample in samples]) == ([[] for _ in samples], ())
