"""What a tag is about: identity, outfit, pose, background … by tables of words.

Captions are sorted by these classes, and only some of them may be absorbed into a trigger (science notes, section 4).
The vocabulary is that of booru tags and of the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from .tags import same_tag

ORDER = ("class", "count", "identity", "outfit", "pose", "view", "expression", "other", "lighting", "background",
         "style", "quality")
"""The classes in the order of a caption, after the trigger. `other`: tags that are in no table."""


def _words(text: str) -> frozenset[str]:
    return frozenset(same_tag(part) for part in text.split(",") if part.strip())


_WHOLE: Mapping[str, frozenset[str]] = {
    "class": _words("""
        1girl, 1boy, 1other, girl, boy, woman, man, person, female, male, no humans, creature, robot, animal"""),
    "count": _words("""
        solo, solo focus, duo, trio, group, 2girls, 3girls, 4girls, 5girls, 6+girls, 2boys, 3boys, 4boys, 5boys,
        6+boys, multiple girls, multiple boys, multiple others, 2others, crowd, couple"""),
    "pose": _words("""
        standing, sitting, lying, kneeling, squatting, crouching, walking, running, jumping, dancing, flying,
        swimming, sleeping, floating, leaning, reclining, stretching, waving, pointing, salute, wariza, seiza, all
        fours, on back, on side, on stomach, on bed, on one knee, crossed arms, crossed legs, arms up, arms behind
        back, arms behind head, arm up, outstretched arms, outstretched arm, spread arms, hands on own hips, hand on
        own hip, hand up, hands up, own hands together, v, peace sign, double v, thumbs up, leaning forward, leaning
        back, bent over, head tilt, fighting stance, dynamic pose, contrapposto, arched back, hugging own legs,
        knees up, leg up, adjusting hair, adjusting eyewear, hair flip, tying hair, floating hair, wet hair, messy
        hair, hair blowing, tail raised, tail wagging, hand in own hair, t-pose, looking at viewer, looking away,
        looking back, looking up, looking down, looking to the side, looking at another, eye contact"""),
    "view": _words("""
        front view, side view, back view, profile, three-quarter view, from side, from behind, from above, from
        below, from outside, straight-on, facing viewer, facing away, dutch angle, pov, fisheye, full body, upper
        body, lower body, cowboy shot, portrait, close-up, headshot, bust, wide shot, very wide shot, medium shot,
        mid shot, half body, face focus, out of frame, cropped legs, head out of frame, centered, rule of thirds,
        diagonal, multiple views, reference sheet, turnaround, foreshortening, perspective, depth of field, blurry
        background, bokeh"""),
    "expression": _words("""
        smile, grin, smirk, frown, expressionless, open mouth, closed mouth, parted lips, closed eyes, one eye
        closed, half-closed eyes, wide-eyed, empty eyes, rolling eyes, crying, tears, laughing, blush, light blush,
        full-face blush, angry, annoyed, sad, happy, surprised, scared, serious, embarrassed, pout, tongue out,
        clenched teeth, teeth, fang out, light smile, evil smile, sleepy, tired, bored, confused, shy, nervous,
        sweatdrop, determined, wink, raised eyebrows, furrowed brow, nose blush, drooling, naughty face, seductive
        smile, ahegao, crying with eyes open, streaming tears, wavy mouth, :d, :o, :3, :p, ;d, >_<, ^_^, @_@,
        smiling"""),
    "lighting": _words("""
        backlighting, backlight, rim light, rim lighting, soft light, soft lighting, hard light, high key, highkey,
        low key, lowkey, sunlight, sunbeam, light rays, god rays, moonlight, candlelight, neon lights, spotlight,
        chiaroscuro, lens flare, dappled sunlight, cinematic lighting, volumetric lighting, dramatic lighting,
        natural light, studio lighting, shadow, shade, glowing, day, golden hour, blue hour, overexposure, light
        particles"""),
    "background": _words("""
        outdoors, indoors, sky, grass, flower field, field, forest, tree, trees, nature, water, ocean, sea, beach,
        river, lake, mountain, mountains, desert, snow, snowing, rain, cloud, clouds, cloudy sky, city, cityscape,
        street, city street, city lights, building, buildings, alley, road, park, garden, room, bedroom, classroom,
        kitchen, bathroom, office, cafe, library, school, window, wall, brick wall, floor, wooden floor, tatami,
        bed, night, sunset, sunrise, dusk, dawn, twilight, evening, space, stars, moon, full moon, sun, underwater,
        castle, ruins, bridge, train, train interior, car interior, studio, stage, scenery, landscape, horizon,
        cherry blossoms, petals, falling petals, autumn leaves, bamboo forest, shrine, temple, church, rooftop,
        balcony, pool, onsen, festival, fireworks, winter, summer, spring, wind, autumn, simple background,
        gradient, abstract background, border, letterboxed"""),
    "style": _words("""
        flat color, lineart, pastel, dark, pixel art, watercolor, oil painting, sketch, monochrome, greyscale,
        grayscale, sepia, spot color, limited palette, chibi, anime coloring, cel shading, realistic,
        photorealistic, photo, photograph, 3d, cgi, comic, manga, 4koma, ink, ink wash, graphite, charcoal, pencil
        drawing, colored pencil, marker, crayon, gouache, acrylic painting, digital painting, concept art,
        illustration, painterly, impressionism, art nouveau, ukiyo-e, retro artstyle, 1980s (style), 1990s (style),
        2000s (style), toon, cartoon, vector, minimalism, halftone, screentones, film grain, chromatic aberration,
        high contrast, muted color, pale color, vaporwave, cyberpunk, steampunk, lowpoly, isometric, storybook,
        traditional media, mixed media, thick outlines, no lineart, outline, painting (medium), watercolor (medium),
        unfinished"""),
    "quality": _words("""
        masterpiece, best quality, high quality, normal quality, low quality, worst quality, highres, absurdres,
        lowres, very aesthetic, aesthetic, jpeg artifacts, watermark, signature, artist name, text, english text,
        username, twitter username, web address, dated, logo, patreon username, commentary, commentary request,
        translated, bad id, bad pixiv id, official art, scan, general, sensitive, questionable, explicit, safe,
        nsfw, sfw, speech bubble, blurry, bad anatomy, bad hands, extra digits, error, censored"""),
    "identity": _words("""
        animal ear fluff, ahoge, fang, fangs, freckles, mole, mole under eye, mole under mouth, scar, tattoo, facial
        mark, whisker markings, forehead mark, muscular, tall, short, petite, slim, chubby, curvy, toned, elf,
        vampire, angel, demon girl, fox girl, cat girl, dog girl, wolf girl, rabbit girl, kemonomimi mode, furry,
        androgynous, child, old, mature female, mature male, makeup, lipstick, eyeshadow, eyeliner, halo, small
        breasts, medium breasts, large breasts, huge breasts, flat chest, abs, third eye, no nose, colored skin"""),
}
"""Class -> whole tags that belong to it; they take precedence over the rules below."""

_STARTS: Mapping[str, frozenset[str]] = {
    "pose": _words("""
        holding, hand on, hands on, hand in, hands in, hand over, hand to, hand between, carrying, playing, using,
        eating, drinking, reading, sitting on, leaning on, lying on, standing on, grabbing, lifting, reaching,
        riding, adjusting, arm at, arms at, looking at"""),
    "style": _words("""
        art by, style of, in the style of, drawn by"""),
    "quality": _words("""
        score"""),
}
"""Class -> first words."""

_ENDS: Mapping[str, frozenset[str]] = {
    "other": _words("""
        on head, on shoulder, on lap, in hand, in mouth, focus"""),
    "pose": _words("""
        pose, stance, own hips, own chest, own face, own mouth, own hair, own cheek, viewer"""),
    "expression": _words("""
        expression, smile, smiling, tears, blush, tongue"""),
    "lighting": _words("""
        light, lights, lighting, sunlight, shadows"""),
    "background": _words("""
        background, sky, wall, room, street, field, forest, beach, building, interior, landscape, scenery, city,
        park, garden, snow, water, trees, clouds, night"""),
    "style": _words("""
        style), (medium), (style, artstyle, art style, theme, palette, coloring, shading, painting, drawing, sketch,
        art, aesthetic, tones"""),
    "quality": _words("""
        quality, username, artifacts, watermark, request"""),
    "identity": _words("""
        hair, eyes, eye, ears, ear, tail, tails, wings, wing, horns, horn, skin, bangs, sidelocks, twintails,
        ponytail, braid, braids, bun, buns, bob, bob cut, hime cut, drill, drills, afro, dreadlocks, mohawk, pupils,
        iris, eyebrows, eyelashes, beard, mustache, goatee, stubble, fang, fangs, teeth, freckles, mole, scar,
        markings, mark, tattoo, nose, lips, jawline, cheekbones, breasts, heterochromia, antennae, antlers,
        whiskers, fur, scales, feathers, ahoge, intakes, face, complexion, physique, build, body type, cheeks,
        forehead"""),
    "outfit": _words("""
        dress, skirt, miniskirt, shirt, blouse, sweater, cardigan, hoodie, jacket, coat, vest, cape, cloak, robe,
        kimono, yukata, hakama, uniform, serafuku, suit, tuxedo, apron, pants, jeans, shorts, trousers, leggings,
        tights, pantyhose, thighhighs, kneehighs, socks, legwear, shoes, boots, sandals, sneakers, heels, footwear,
        slippers, loafers, barefoot, gloves, mittens, sleeves, sleeveless, collar, choker, necklace, pendant,
        earrings, earring, bracelet, ring, jewelry, belt, sash, scarf, necktie, tie, bowtie, bow, ribbon, hairband,
        headband, hairclip, hairpin, hair ornament, ornament, tiara, crown, hat, cap, beret, hood, helmet, veil,
        headphones, glasses, sunglasses, eyewear, goggles, mask, eyepatch, armor, gauntlets, bag, backpack, handbag,
        swimsuit, bikini, leotard, bodysuit, underwear, bra, panties, lingerie, pajamas, costume, outfit, clothes,
        clothing, t-shirt, tank top, crop top, camisole, corset, turtleneck, midriff, cleavage, bandages, badge,
        buttons, pocket, pockets, frills, trim, lace, zipper, obi, scrunchie, headdress, headwear, bare shoulders,
        off shoulder, zettai ryouiki, nude, topless, flower"""),
}
"""Class -> last words, tried in this order."""


@lru_cache(maxsize=65536)
def tag_class(tag: str) -> str:
    """The class of a tag, one of ORDER. Whole tags are tried first, then first words, then last words."""
    text = same_tag(tag)
    for name, tags in _WHOLE.items():
        if text in tags:
            return name
    words = text.split()
    for name, starts in _STARTS.items():
        if any(" ".join(words[:length]) in starts for length in (1, 2, 3, 4)):
            return name
    for name, ends in _ENDS.items():
        if any(" ".join(words[-length:]) in ends for length in (1, 2)):
            return name
    return "other"


def known_words() -> frozenset[str]:
    """Every single word of the tables."""
    tables = (*_WHOLE.values(), *_STARTS.values(), *_ENDS.values())
    return frozenset(word for table in tables for tag in table for word in tag.split())


GARMENTS = _ENDS["outfit"]
"""Nouns that a longer tag ending in them implies: `white dress` implies `dress`."""
