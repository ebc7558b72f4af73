"""How each tag is said in a sentence, and the words from which a phrase for an unknown tag is made.

Booru tags leave out articles and verbs, which a text encoder that was taught by sentences (T5, Qwen) expects.
"""

from __future__ import annotations

from collections.abc import Mapping

SUBJECTS: Mapping[str, str] = {
    "1girl": "girl", "girl": "girl", "female": "girl", "1boy": "boy", "boy": "boy", "male": "boy", "woman": "woman",
    "man": "man", "1other": "person", "person": "person", "creature": "creature", "robot": "robot", "animal": "animal",
    "mature female": "woman", "mature male": "man", "1woman": "woman", "1man": "man", "1person": "person",
}
"""Tag -> the noun for one of them."""
GROUPS: Mapping[str, str] = {
    "2girls": "two girls", "3girls": "three girls", "4girls": "four girls", "5girls": "five girls",
    "6+girls": "six or more girls", "multiple girls": "several girls", "2boys": "two boys", "3boys": "three boys",
    "4boys": "four boys", "5boys": "five boys", "6+boys": "six or more boys", "multiple boys": "several boys",
    "2others": "two people", "multiple others": "several people", "couple": "a couple", "crowd": "a crowd",
}
GROWN = {"girl": "woman", "boy": "man"}
SEXES = {"girl": "female", "woman": "female", "boy": "male", "man": "male", "person": ""}
"""The noun for a person -> the adjective for an animal."""
UNSAID = frozenset(("solo", "solo focus", "male focus", "female focus", "other focus", "no humans", "feral", "duo",
                    "trio", "group", "own"))
"""Tags that a sentence says by what it does not mention."""
ADJECTIVES: Mapping[str, str] = {
    "child": "young", "old": "old", "tall": "tall", "short": "short", "petite": "petite", "slim": "slim",
    "muscular": "muscular", "toned": "toned", "chubby": "chubby", "curvy": "curvy", "androgynous": "androgynous",
    "nude": "nude", "naked": "naked", "completely nude": "completely nude", "half-naked": "half-naked",
    "half-dressed": "half-dressed", "fully clothed": "fully clothed", "topless": "topless", "bottomless": "bottomless",
    "barefoot": "barefoot", "bespectacled": "bespectacled", "well-dressed": "well-dressed",
    "tan": "tanned", "old age": "old", "otoko no ko": "feminine", "milf": "mature",
    **{word: word for word in """aged albino androgynous anthro athletic bald balding bearded blind boyish buff chunky
       disabled elderly faceless fat feminine flat-chested freckled furry girly hairy handsome ladylike lanky manly
       masculine middle-aged mature obese one-eyed overweight pale plump ponytailed pregnant ripped skinny slender
       stocky tanned tattooed teen teenage thin tomboyish voluptuous womanly wrinkled young adult asian
       android angel centaur cyborg cyclops demon devil draph dwarf elf erune fairy futanari half-elf harpy incubus
       inkling jiangshi kemonomimi kitsune lamia mermaid merman nekomata octoling oni succubus taur tengu vampire
       viera""".split()},
    "dark elf": "dark elf", "fallen angel": "fallen angel", "au ra": "au ra", "miqo'te": "miqo'te",
}
"""Tag -> the word before the noun of the subject."""

_GARMENTS = {
    "bare shoulders": "with bare shoulders", "off shoulder": "with the clothes off the shoulders",
    "off-shoulder": "with the clothes off the shoulders", "midriff": "with a bare midriff",
    "cleavage": "with visible cleavage", "sleeveless": "wearing sleeveless clothes", "topless": "topless",
    "zettai ryouiki": "with bare thighs above the stockings", "flower": "with a flower",
    "hair flower": "with a flower in the hair", "hair ornament": "with an ornament in the hair",
    "hairclip": "with a hairclip", "hairpin": "with a hairpin", "hair ribbon": "with a ribbon in the hair",
    "hair bow": "with a bow in the hair", "animal ear fluff": "with fluff in the ears", "jewelry": "wearing jewelry",
    "hair over one eye": "with hair over one eye",
}
_POSES = {
    "looking at viewer": "looking at the viewer", "facing viewer": "facing the viewer",
    "looking at another": "looking at somebody else", "looking to the side": "looking to the side",
    "facing left": "facing left", "facing right": "facing right", "eye contact": "making eye contact",
    "arms up": "with both arms raised", "arm up": "with one arm raised", "hand up": "with one hand raised",
    "hands up": "with both hands raised", "crossed arms": "with crossed arms", "crossed legs": "with crossed legs",
    "arms behind back": "with both arms behind the back", "arms behind head": "with both arms behind the head",
    "arms at sides": "with both arms at the sides", "spread arms": "with spread arms",
    "outstretched arms": "with outstretched arms", "outstretched arm": "with an outstretched arm",
    "hand on own hip": "with one hand on the hip", "hands on own hips": "with both hands on the hips",
    "own hands together": "with the hands together", "v": "making a V sign", "double v": "making two V signs",
    "peace sign": "making a peace sign", "thumbs up": "giving a thumbs up", "salute": "saluting",
    "wariza": "sitting in wariza", "seiza": "sitting in seiza", "all fours": "on all fours",
    "on back": "lying on the back", "on side": "lying on the side", "on stomach": "lying face down",
    "lying on back": "lying on the back", "lying on side": "lying on the side", "on bed": "on a bed",
    "on one knee": "on one knee", "knees up": "with the knees drawn up", "leg up": "with one leg raised",
    "head tilt": "with a tilted head", "bent over": "bent over", "contrapposto": "in contrapposto",
    "arched back": "with an arched back", "hair flip": "flipping the hair", "tail raised": "with a raised tail",
    "tail wagging": "with a wagging tail", "hair blowing": "with hair blowing in the wind",
    "leaning on person": "leaning on somebody", "playing guitar": "playing the guitar",
}
_EXPRESSIONS = {
    "smile": "smiling", "smiling": "smiling", "grin": "grinning", "smirk": "smirking", "frown": "frowning",
    "expressionless": "with a blank expression", "open mouth": "with an open mouth",
    "closed mouth": "with a closed mouth", "parted lips": "with parted lips", "closed eyes": "with closed eyes",
    "eyes closed": "with closed eyes", "one eye closed": "with one eye closed",
    "half-closed eyes": "with half-closed eyes", "wide-eyed": "wide-eyed", "blush": "blushing",
    "light blush": "blushing slightly", "full-face blush": "blushing deeply", "light smile": "smiling slightly",
    "evil smile": "with an evil smile", "angry": "looking angry", "annoyed": "looking annoyed", "sad": "looking sad",
    "happy": "looking happy", "surprised": "looking surprised", "scared": "looking scared",
    "serious": "looking serious", "embarrassed": "looking embarrassed", "sleepy": "looking sleepy",
    "tired": "looking tired", "bored": "looking bored", "confused": "looking confused", "shy": "looking shy",
    "nervous": "looking nervous", "determined": "looking determined", "pout": "pouting", "wink": "winking",
    "tongue out": "with the tongue out", "fang out": "with one fang showing", "tears": "with tears in the eyes",
    "streaming tears": "in tears", "crying with eyes open": "crying with open eyes", "sweatdrop": "with a sweat drop",
    "raised eyebrows": "with raised eyebrows", "furrowed brow": "with a furrowed brow",
    ":d": "with a wide open smile", ":o": "with a round open mouth", ":3": "with a catlike smile",
    ":p": "with the tongue out", ";d": "winking with an open smile", "^_^": "with eyes closed in a smile",
    ">_<": "with eyes squeezed shut", "@_@": "with dizzy eyes", "neutral expression": "with a neutral expression",
}
_VIEWS = {
    "front view": "seen from the front", "straight-on": "seen from straight ahead", "from side": "seen from the side",
    "side view": "seen from the side", "profile": "in profile", "from behind": "seen from behind",
    "back view": "seen from behind", "from above": "seen from above", "from below": "seen from below",
    "from outside": "seen from outside", "three-quarter view": "in three-quarter view", "facing away": "facing away",
    "dutch angle": "with a tilted camera", "pov": "seen through the viewer's eyes", "fisheye": "through a fisheye lens",
    "full body": "full body", "upper body": "shown from the waist up", "lower body": "shown from the waist down",
    "cowboy shot": "shown from the thighs up", "portrait": "in a portrait", "close-up": "in a close-up",
    "headshot": "in a portrait of the head", "bust": "shown from the chest up", "wide shot": "in a wide shot",
    "very wide shot": "in a very wide shot", "medium shot": "in a medium shot", "mid shot": "in a medium shot",
    "half body": "shown from the waist up", "face focus": "with the focus on the face",
    "out of frame": "partly out of frame", "centered": "in the centre of the picture",
    "multiple views": "shown in several views", "reference sheet": "on a reference sheet",
    "turnaround": "shown from all sides", "foreshortening": "in strong foreshortening",
    "depth of field": "with a shallow depth of field", "blurry background": "before a blurry background",
}
FRAMINGS = frozenset(("full body", "upper body", "lower body", "half body", "cowboy shot", "portrait", "close-up",
                      "headshot", "bust", "wide shot", "very wide shot", "medium shot", "mid shot", "face focus"))
_BACKGROUNDS = {
    "outdoors": "outdoors", "indoors": "indoors", "simple background": "on a simple background",
    "sky": "under the sky", "blue sky": "under a blue sky", "night sky": "under a night sky",
    "cloudy sky": "under a cloudy sky", "starry sky": "under a starry sky", "night": "at night", "day": "by day",
    "sunset": "at sunset", "sunrise": "at sunrise", "dusk": "at dusk", "dawn": "at dawn", "twilight": "at twilight",
    "evening": "in the evening", "beach": "on a beach", "grass": "on grass", "field": "in a field",
    "flower field": "in a field of flowers", "forest": "in a forest", "nature": "in nature", "park": "in a park",
    "garden": "in a garden", "mountain": "in the mountains", "mountains": "in the mountains", "desert": "in a desert",
    "snow": "in the snow", "snowing": "in falling snow", "rain": "in the rain", "city": "in a city",
    "cityscape": "before a cityscape", "street": "on a street", "city street": "on a city street",
    "road": "on a road", "alley": "in an alley", "rooftop": "on a rooftop", "balcony": "on a balcony",
    "bridge": "on a bridge", "stage": "on a stage", "room": "in a room", "bedroom": "in a bedroom",
    "living room": "in a living room", "classroom": "in a classroom", "kitchen": "in a kitchen",
    "bathroom": "in a bathroom", "office": "in an office", "cafe": "in a cafe", "library": "in a library",
    "school": "at school", "studio": "in a studio", "shrine": "at a shrine", "temple": "at a temple",
    "church": "in a church", "castle": "in a castle", "ruins": "among ruins", "train interior": "inside a train",
    "car interior": "inside a car", "pool": "at a pool", "onsen": "in a hot spring", "festival": "at a festival",
    "underwater": "under water", "space": "in space", "water": "in water", "ocean": "by the ocean",
    "sea": "by the sea", "lake": "by a lake", "river": "by a river", "bamboo forest": "in a bamboo forest",
    "winter": "in winter", "summer": "in summer", "spring": "in spring", "autumn": "in autumn",
    "wind": "in the wind", "tree": "by a tree", "trees": "among trees", "scenery": "before wide scenery",
}
_LIGHTS = {
    "sunlight": "in sunlight", "dappled sunlight": "in dappled sunlight", "moonlight": "in moonlight",
    "candlelight": "by candlelight", "backlighting": "lit from behind", "backlight": "lit from behind",
    "rim light": "with light along the edges", "rim lighting": "with light along the edges",
    "soft light": "in soft light", "soft lighting": "in soft light", "hard light": "in hard light",
    "dim lighting": "in dim light", "dramatic lighting": "in dramatic light", "natural light": "in natural light",
    "cinematic lighting": "in cinematic light", "studio lighting": "in studio light",
    "volumetric lighting": "with visible rays of light", "light rays": "with visible rays of light",
    "god rays": "with visible rays of light", "sunbeam": "in a sunbeam", "spotlight": "in a spotlight",
    "neon lights": "in neon light", "lens flare": "with a lens flare", "shadow": "with shadows",
    "shade": "in the shade", "golden hour": "in the golden hour", "blue hour": "in the blue hour", "glowing": "glowing",
    "high key": "in high-key light", "low key": "in low-key light", "chiaroscuro": "in chiaroscuro",
    "overexposure": "overexposed",
}
_STYLES = {
    "flat color": "in flat colours", "lineart": "as line art", "pastel": "in pastel colours", "dark": "in dark colours",
    "pixel art": "as pixel art", "watercolor": "as a watercolour painting", "watercolor (medium)": (
        "as a watercolour painting"), "oil painting": "as an oil painting", "sketch": "as a sketch",
    "monochrome": "in monochrome", "greyscale": "in greyscale", "sepia": "in sepia", "chibi": "in a chibi style",
    "anime coloring": "in anime colours", "cel shading": "with cel shading", "realistic": "in a realistic style",
    "photorealistic": "in a photorealistic style", "photo": "as a photograph", "photograph": "as a photograph",
    "3d": "as a 3D render", "cgi": "as a 3D render", "comic": "as a comic", "manga": "as a manga",
    "4koma": "as a comic",
    "traditional media": "in traditional media", "ink": "in ink", "graphite": "in pencil", "charcoal": "in charcoal",
    "pencil drawing": "as a pencil drawing", "crayon": "in crayon", "gouache": "in gouache",
    "digital painting": "as a digital painting", "illustration": "as an illustration", "concept art": "as concept art",
    "cartoon": "as a cartoon", "limited palette": "in few colours", "muted color": "in muted colours",
    "pale color": "in pale colours", "high contrast": "with high contrast", "spot color": "with one spot colour",
    "film grain": "with film grain", "thick outlines": "with thick outlines", "outline": "with outlines",
    "no lineart": "without outlines", "halftone": "with halftone dots", "screentones": "with screentones",
    "ukiyo-e": "as a ukiyo-e print", "unfinished": "unfinished", "painterly": "in a painterly style",
    "impressionism": "in an impressionist style", "art nouveau": "in an art nouveau style",
    "isometric": "in isometric view",
}
PHRASES: Mapping[str, str] = {**_GARMENTS, **_POSES, **_EXPRESSIONS, **_VIEWS, **_BACKGROUNDS, **_LIGHTS, **_STYLES}
"""Tag -> what a sentence says for it. What begins with "with" or "wearing" is joined with others that do."""

BEARERS = ("sleeves", "sleeve", "frills", "trim", "lace", "collar", "pocket", "pockets", "buttons", "zipper",
           "necklace")
"""Last words of garments that a person has rather than wears."""
UNCOUNTABLE = frozenset("""
    hair skin fur fluff armor clothing clothes jewelry makeup lipstick eyeshadow eyeliner footwear legwear eyewear
    headwear underwear lingerie swimwear lace trim water rain snow grass light lighting sunlight moonlight shading food
    coffee tea blood fire smoke ice sand air facepaint denim leather plating countershading heterochromia polydactyly
    stubble cleavage midriff
    art colouring coloring color people feet teeth antennae men women children tableware weaponry sportswear""".split())
"""Nouns without "a": there is none for them, or they are plural without an s."""
SINGULAR_S = frozenset("glass dress cross bus canvas lens harness compass iris headdress".split())
DETERMINERS = frozenset("a an the his her its their my your no one two three four five six both many several multiple "
                        "some each another".split())
PREPOSITIONS = frozenset("on in under over at by of with behind between around above below across near against into "
                         "through to from for beside".split())
AFTER_A_VERB = frozenset("forward back backwards up down away around aside together over sideways apart out off "
                         "hands".split())
"""Words after a verb that are not its object: `leaning forward`."""
SOUNDS_LIKE_A_CONSONANT = ("uni", "eu", "one", "use", "ukulele")
SOUNDS_LIKE_A_VOWEL = ("hour", "honest", "heir", "8")
LENGTHS = ("absurdly long", "very long", "long", "medium", "short", "very short", "big", "high", "low")
TEXTURES = ("straight", "wavy", "curly", "messy", "spiky", "fluffy", "drill", "shiny", "wet")
