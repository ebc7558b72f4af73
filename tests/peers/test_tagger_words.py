"""Whose the words are that taggers and captioners write: outputs as their makers and users published them.

Each output is quoted from the page beside it. What of it is not the character's was judged by hand.
"""

import pytest

from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig
from lora_bootstrap.trainer.bootstrap.planning.view_plan import plan_views
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.captions.axes import find_contradictions
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.tags import split_tags
from lora_bootstrap.trainer.captions.views import VOCABULARIES
from lora_bootstrap.trainer.tagging.absorb import propose

from ..helpers.captions import dataset_of

OUTPUTS = {
    # https://github.com/neggles/wdv3-timm/blob/12f313cd47cadaeb9f210398f91388a6b858564f/README.md
    "WD SwinV2 v3": ("""
        1girl, solo, animal_ears, bow, sleeves_past_wrists, jacket, scarf, brown_jacket, hair_bow, hairclip,
        animal_ear_fluff, open_jacket, blush, long_hair, open_clothes, hair_between_eyes, hand_up, purple_bow,
        long_sleeves, upper_body, shirt, white_shirt, black_jacket, hair_ornament, brown_cardigan, blazer,
        looking_at_viewer, closed_mouth, fringe_trim""", """
        1girl, solo, blush, hand_up, upper_body, looking_at_viewer, closed_mouth"""),
    # https://github.com/SmilingWolf/wdv3-jax/blob/40640c8dd72c46fdce1d8fc8e9adb2804e3d00ba/README.md
    "WD SwinV2 v3, escaped": (r"""
        1girl, whiskey, eyepatch, playboy bunny, animal ears, pantyhose, rabbit ears, solo, breasts, alcohol,
        braid, long hair, leotard, scar, multicolored hair, wrist cuffs, black pantyhose, holding, scar on face,
        fake animal ears, covered navel, bottle, looking at viewer, grey hair, sky, medium breasts, star
        \(sky\), starry sky, night, black leotard, yellow eyes, streaked hair, strapless leotard, cleavage,
        strapless, long braid, detached collar, night sky, cup, bare shoulders, single braid, blush, scar across
        eye, holding bottle, standing, m16a1 \(girls' frontline\)""", r"""
        1girl, solo, whiskey, alcohol, holding, covered navel, bottle, looking at viewer, sky, star \(sky\),
        starry sky, night, night sky, cup, blush, holding bottle, standing, m16a1 \(girls' frontline\)"""),
    # https://github.com/deepghs/imgutils/blob/090c28104758ac55bf1b5f8daf49eb46606bb7ed/imgutils/tagging/wd14.py
    "WD14": ("""
        1girl, solo, long_hair, breasts, looking_at_viewer, bangs, large_breasts, shirt, red_eyes, gloves,
        navel, holding, hair_between_eyes, very_long_hair, standing, white_hair, short_sleeves, grey_hair,
        thighs, cowboy_shot, sweat, outdoors, parted_lips, sky, shorts, alternate_costume, day, black_gloves,
        midriff, artist_name, cloud, stomach, blue_sky, crop_top, black_shirt, short_shorts,
        ass_visible_through_thighs, black_shorts, thigh_gap, no_headwear, low-tied_long_hair, sportswear,
        motion_blur, baseball_bat, baseball, holding_baseball_bat""", """
        1girl, solo, looking_at_viewer, navel, holding, standing, thighs, cowboy_shot, sweat, outdoors,
        parted_lips, sky, alternate_costume, day, artist_name, cloud, stomach, blue_sky,
        ass_visible_through_thighs, thigh_gap, motion_blur, baseball_bat, baseball, holding_baseball_bat"""),
    # https://github.com/deepghs/imgutils
    # blob/2513cef4a2d1cdde993f44961b820de85ee9538d/imgutils/tagging/mldanbooru.py
    "ML-Danbooru": ("""
        1girl, skirt, tongue, hair_ornament, tongue_out, flower, twintails, ghost, hair_flower, bag, long_hair,
        backpack, brown_hair, cardigan, red_eyes, plaid, looking_at_viewer, school_uniform, outdoors, jacket,
        plaid_skirt, ahoge, pleated_skirt, nail_polish, solo, blue_cardigan, bangs, very_long_hair,
        eyebrows_visible_through_hair, hairclip, red_nails, :p, long_sleeves, shirt, blazer, ribbon,
        hair_ribbon, star-shaped_pupils, gradient_hair, white_shirt, brown_skirt, symbol-shaped_pupils, smile,
        hair_between_eyes, cowboy_shot, multicolored_hair, blush, railing, blue_jacket, sleeves_past_wrists,
        day, collared_shirt, red_neckwear, flower-shaped_pupils, miniskirt, holding, open_clothes""", """
        1girl, solo, tongue, tongue_out, flower, ghost, looking_at_viewer, outdoors,
        eyebrows_visible_through_hair, :p, smile, cowboy_shot, blush, railing, day, holding"""),
    # https://github.com/deepghs/imgutils
    # blob/2c7cf25db06b1f858e849752198f1fba11a0f936/imgutils/tagging/deepdanbooru.py
    "DeepDanbooru": ("""
        1girl, :p, ahoge, backpack, bag, bag_charm, bangs, black_border, blush, bow, brick_wall, brown_hair,
        building, charm_(object), city, cityscape, cowboy_shot, flower, hair_between_eyes, hair_flower,
        hair_ornament, hair_ribbon, jacket, letterboxed, long_hair, looking_at_viewer, phone_screen,
        pillarboxed, plaid, plaid_skirt, pleated_skirt, red_eyes, red_nails, school_bag, school_uniform, shirt,
        shoulder_bag, skirt, skyscraper, sleeves_past_wrists, smile, solo, thighhighs, tongue, tongue_out,
        twintails, very_long_hair""", """
        1girl, solo, :p, bag_charm, black_border, blush, brick_wall, building, charm_(object), city, cityscape,
        cowboy_shot, flower, letterboxed, looking_at_viewer, phone_screen, pillarboxed, skyscraper, smile,
        tongue, tongue_out"""),
    # https://github.com/deepghs/imgutils/blob/744b7a720af92c2ed1db485460fbe684e0c2e5dc/test/tagging/test_pixai.py
    "PixAI v0.9": ("""
        symbol-shaped_pupils, ghost, flower-shaped_pupils, porkpie_hat, black_nails, ghost_pose, ring, 1girl,
        hat_flower, hat, flower, plum_blossoms, red_shirt, jewelry, claw_pose, chinese_clothes, long_sleeves,
        long_hair, twintails, looking_at_viewer, hat_tassel, multiple_rings, signature, smile, open_mouth,
        red_flower, solo, hat_ornament, red_eyes, black_hat, brown_coat, nail_polish, coat, upper_body,
        brown_hair, thumb_ring, star_(symbol), shirt, star-shaped_pupils, hair_between_eyes, orange_eyes, :d,
        tangzhuang, :3, blush, v-shaped_eyebrows, sidelocks, brown_shirt, blurry""", """
        1girl, solo, ghost, ghost_pose, flower, plum_blossoms, claw_pose, looking_at_viewer, signature, smile,
        open_mouth, red_flower, upper_body, star_(symbol), :d, tangzhuang, :3, blush, v-shaped_eyebrows, blurry"""),
    # https://github.com/deepghs/imgutils/blob/744b7a720af92c2ed1db485460fbe684e0c2e5dc/test/tagging/test_pixai.py
    "PixAI v0.9, transparent": ("""
        red_tube_top, tube_top, red_bandeau, white_shorts, bandeau, transparent_background, horns, full_body,
        midriff, shorts, 1girl, strapless, navel, white_footwear, white_hair, solo, tail, stomach, standing,
        pointy_ears, open_coat, looking_at_viewer, open_clothes, long_hair, hand_on_own_hip, holding,
        short_shorts, tongue, tongue_out, dragon_horns, weapon, coat, belt, tachi-e, crop_top, white_coat,
        dragon_tail, purple_eyes, streaked_hair, half_updo, thighs, bare_legs, :d, wide_sleeves, smile,
        multicolored_hair, bead_bracelet, red_hair, drop_shadow, long_sleeves, red_skin, sidelocks, socks, :p,
        sword, jewelry, hand_up, boots, black_socks, pixel_art, black_belt, holding_weapon, breasts,
        ankle_boots, white_jacket, jacket, tassel_earrings, open_mouth, beads, braid, open_jacket,
        bare_shoulders, shoes, bracelet, pouch, colored_skin, originium_arts_(arknights), dragon_girl,
        thigh_strap, earrings, collarbone, red_eyes, body_markings, medium_breasts, holding_sword, white_pants,
        club_(weapon), eyeshadow, ponytail, tassel, multiple_weapons, pink_eyes, flame-tipped_tail""", """
        1girl, solo, transparent_background, full_body, navel, stomach, standing, looking_at_viewer,
        hand_on_own_hip, holding, tongue, tongue_out, weapon, tachi-e, thighs, :d, smile, drop_shadow, :p,
        sword, hand_up, pixel_art, holding_weapon, open_mouth, beads, originium_arts_(arknights), collarbone,
        holding_sword, club_(weapon), multiple_weapons"""),
    # https://github.com/rezoo/illustration2vec/blob/475014e860ac04e2112b48cc602614405ec300b2/README.md
    "Illustration2Vec": ("""
        hatsune miku, thighhighs, 1girl, twintails, solo, aqua hair, long hair, very long hair, detached
        sleeves, skirt, necktie, aqua eyes, safe""", """
        hatsune miku, 1girl, solo, safe"""),
    # https://github.com/transformerlab/transformerlab-app
    # blob/71ccb68afc22101a75b6ec9809bed80ee5b1353b/api/transformerlab/plugins/wd14_captioner/info.md
    "WD14 ConvNeXt": ("""
        solo, smile, open_mouth, simple_background, red_eyes, white_background, standing, full_body,
        pokemon_(creature), no_humans, fangs, bright_pupils, claws, white_pupils, bulbasaur""", """
        solo, smile, open_mouth, simple_background, white_background, standing, full_body, pokemon_(creature),
        no_humans, bulbasaur"""),
}
"""Tagger -> (what it wrote, what of this is not the character's)."""
SENTENCES = {
    # https://github.com/fpgaminer/joycaption/blob/4ce1c5d6b7de5487e3218ca63b9100d703210a05/README.md
    "JoyCaption": "This image is a digital meme featuring a photograph of a golden retriever walking on a wet asphalt "
                  "road. The dog, with a light golden coat, wears a red collar and leash, and is captured mid-stride, "
                  "with its tongue out. The background is blurred, emphasizing the dog.",
    # https://blog.roboflow.com/multimodal-image-captioning
    "Florence-2": "The image shows a beagle dog sitting on a cobblestone street. The dog is wearing a black collar and "
                  "leash. It is looking directly at the camera with its ears perked up. The street is lined with brick "
                  "walls and arches, and there are several pendant lights hanging from the ceiling.",
}


def tags_of(text):
    return tuple(split_tags(" ".join(text.split())))


def project_with(tags, tmp_path):
    """A project on a base that looks like SDXL to the loop; nothing of it is loaded."""
    return Project(tmp_path / "eiei", BootstrapConfig(picture="girl.png", tags=tags, trigger="eiei21girl",
                                                      base="sd_xl_base.safetensors"), "sdxl")


@pytest.mark.parametrize("tagger", OUTPUTS)
def test_traits_and_clothes_are_hers_and_nothing_else_that_a_tagger_writes(tagger):
    written, others = map(tags_of, OUTPUTS[tagger])
    assert set(others) <= set(written)
    assert set(tag_roles(written, VOCABULARIES["booru"]).identity) == set(written) - set(others)


@pytest.mark.parametrize("tagger", OUTPUTS)
def test_no_prompt_of_round_1_contradicts_itself(tagger, tmp_path):
    plan = plan_views(project_with(tags_of(OUTPUTS[tagger][0]), tmp_path), 1)
    assert len(plan.views) == 48
    assert [pair for view in plan.views for pair in find_contradictions(view.prompt.tags)] == []


@pytest.mark.parametrize("tagger", OUTPUTS)
def test_a_trigger_absorbs_nothing_else(tagger):
    written, others = map(tags_of, OUTPUTS[tagger])
    assert not set(propose(dataset_of(", ".join(written)), "character").absorbed) & set(others)


@pytest.mark.parametrize("captioner", SENTENCES)
def test_a_sentence_is_no_list_of_traits_and_it_is_said(captioner):
    parts = tags_of(SENTENCES[captioner])
    roles = tag_roles(parts, VOCABULARIES["booru"])
    assert roles.identity == () and roles.unknown == roles.view == parts
    assert any("is a sentence: it is kept as this image's. List her traits as tags." in line
               for line in roles.warnings)
    plan = propose(dataset_of(SENTENCES[captioner]), "character")
    assert plan.absorbed == () and "only tags can be sorted" in plan.warnings[-1]
