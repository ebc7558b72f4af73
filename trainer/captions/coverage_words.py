"""The words by which captions say how an image shows its subject: booru tags, the sandbox's, and prose.

Shares are of the images whose captions say anything on the axis. Framing: seed guide 003 (close-ups 20-30 %, mid shots
40-50 %, full body 20-30 %). Views: seed guide 001 (of 20-30 images 5-7 front, 3-5 three-quarter, 2-3 profile) and 004
(back).
Expression, background, lighting, outfit: "different ...", "either vary, be neutral, or be removed entirely" (001, 003).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .axes import ANGLES, FRAMINGS, HEIGHTS, TURNS, Names


@dataclass(frozen=True)
class Kind:
    """One kind of image on an axis.

    Attributes:
        words: tags and phrases for it, in lower case, with spaces for underscores and hyphens.
        least, most: the share of images the guides recommend, 0..1.
        ask: what advice calls an image of this kind; the name if not given.
    """

    words: tuple[str, ...]
    least: float = 0.0
    most: float = 1.0
    ask: str = ""


@dataclass(frozen=True)
class CoverageAxis:
    """One aspect of an image that captions may name.

    Attributes:
        kinds: by name, in the order they are tried: if an axis is `exclusive`, only the first that matches counts.
        variety: number of kinds that should have at least one image (0: the kinds' own shares are enough).
        most: the largest share any one kind should have, if variety is wanted.
    """

    title: str
    kinds: Mapping[str, Kind]
    exclusive: bool = True
    variety: int = 0
    most: float = 1.0
    say: str = field(default="", compare=False)
    """What to do if captions say nothing on this axis."""


_ALONE = frozenset("profile sideways closeup portrait headshot bust frontal".split())
"""Words for a view that mean nothing else in a sentence."""


def _named(names: Names, *usual: str) -> tuple[str, ...]:
    """The words for these views, as captions spell them."""
    words = [word.replace("-", " ") for name in usual for word in (name, *names[name])]
    return tuple(dict.fromkeys(word for word in words if " " in word or word in _ALONE))


AXES: Mapping[str, CoverageAxis] = {
    "framing": CoverageAxis("Framing", {
        "close-up": Kind(_named(FRAMINGS, "close-up"), 0.20, 0.30),
        "full": Kind(_named(FRAMINGS, "full body"), 0.20, 0.30, "full body"),
        "mid": Kind((*_named(FRAMINGS, "upper body", "cowboy shot", "lower body"), "torso"), 0.40, 0.50, "upper body"),
    }),
    "view": CoverageAxis("View", {
        "behind": Kind(_named(ANGLES, "from behind"), 0.10, 0.25, "view from behind"),
        "above": Kind(_named(HEIGHTS, "from above"), 0.0, 0.20, "view from above"),
        "below": Kind(_named(HEIGHTS, "from below"), 0.0, 0.20, "view from below"),
        "three-quarter": Kind(_named(ANGLES, "three-quarter view"), 0.10, 0.35, "three-quarter view"),
        "side": Kind((*_named(ANGLES, "from side"), *_named(TURNS, "facing left", "facing right"),
                      "looking to the side"), 0.08, 0.30, "view from the side"),
        "front": Kind((*_named(ANGLES, "front view"), "looking at viewer", "looking at the viewer",
                       "looking at the camera"), 0.25, 0.55, "front view"),
    }),
    "expression": CoverageAxis("Expression", {
        "smile": Kind(("smile", "smiling", "grin", "grinning", "happy", "light smile", "laughing", "laugh", "smirk")),
        "neutral": Kind(("expressionless", "neutral", "neutral expression", "serious", "closed mouth", "calm")),
        "open mouth": Kind((":d", "open mouth", "surprised", "shouting", ":o", "yawning", "parted lips")),
        "sad or angry": Kind(("frown", "frowning", "angry", "sad", "crying", "tears", "pout", "scowl", "annoyed")),
        "shy": Kind(("blush", "embarrassed", "shy", "nervous")),
        "closed eyes": Kind(("closed eyes", "eyes closed", "one eye closed", "wink", "winking", "sleeping")),
    }, exclusive=False, variety=3, most=0.70, say="name each image's expression (smile, expressionless, open mouth)"),
    "background": CoverageAxis("Background", {
        "plain": Kind(("white background", "simple background", "grey background", "gray background",
                       "black background", "transparent background", "plain background", "gradient background",
                       "studio", "studio background", "solid background", "blue background", "pink background",
                       "two tone background", "blurry background")),
        "indoors": Kind(("indoors", "room", "bedroom", "kitchen", "classroom", "office", "cafe", "bathroom", "library",
                         "living room", "inside")),
        "street": Kind(("city", "street", "city street", "cityscape", "building", "alley", "rooftop", "road", "urban")),
        "nature": Kind(("outdoors", "grass", "forest", "park", "field", "garden", "flower field", "mountain", "nature",
                        "meadow", "tree", "trees", "woods")),
        "water": Kind(("beach", "ocean", "sea", "lake", "river", "pool", "waterfall", "underwater")),
        "sunset": Kind(("sunset", "sunrise", "dusk", "dawn", "twilight")),
        "night sky": Kind(("night sky", "starry sky", "night")),
        "day sky": Kind(("blue sky", "sky", "cloudy sky", "clouds", "cloud")),
    }, exclusive=True, variety=3, most=0.60,
        say="name each image's background (white background, outdoors, indoors)"),
    "lighting": CoverageAxis("Lighting", {
        "night": Kind(("night", "night sky", "moonlight", "dim lighting", "low key", "low light", "neon lights",
                       "dark lighting")),
        "golden": Kind(("sunset", "sunrise", "golden hour", "warm lighting", "candlelight", "warm light", "lamplight")),
        "back light": Kind(("backlighting", "backlit", "rim lighting", "rim light", "silhouette", "lens flare")),
        "directional": Kind(("sunlight", "side lighting", "dramatic lighting", "hard light", "light rays", "spotlight",
                             "dappled sunlight", "cinematic lighting", "chiaroscuro", "soft shadows")),
        "soft": Kind(("soft lighting", "soft light", "natural lighting", "natural light", "day", "blue sky", "overcast",
                      "diffused light", "studio lighting", "high key", "outdoors")),
    }, exclusive=True, variety=2, most=0.90,
        say="name each image's light (day, night, backlighting)"),
    "outfit": CoverageAxis("Outfit", {
        "dress": Kind(("dress", "gown", "sundress", "red dress", "blue dress", "green dress", "yellow dress",
                       "white dress", "black dress")),
        "uniform": Kind(("school uniform", "uniform", "military uniform", "maid", "serafuku", "suit", "business suit")),
        "traditional": Kind(("kimono", "yukata", "japanese clothes", "chinese clothes", "china dress", "hanfu")),
        "casual": Kind(("shirt", "t shirt", "hoodie", "sweater", "jeans", "shorts", "skirt", "pants", "jacket",
                        "blouse", "tank top", "cardigan", "coat")),
        "armor": Kind(("armor", "armour", "bodysuit", "cape", "robe", "cloak")),
        "swimwear": Kind(("swimsuit", "bikini", "one piece swimsuit", "swimwear")),
        "sleepwear": Kind(("pajamas", "nightgown", "bathrobe", "underwear", "lingerie")),
    }, exclusive=False),
    "turn": CoverageAxis("Left and right", {
        "left": Kind(_named(TURNS, "facing left")), "right": Kind(_named(TURNS, "facing right")),
    }),
    "object": CoverageAxis("Objects", {
        "food or drink": Kind(("food", "fruit", "cup", "mug", "bottle", "drink", "cake", "bread", "ice cream", "candy",
                               "apple", "coffee", "tea", "plate", "glass", "eating", "drinking")),
        "book or device": Kind(("book", "phone", "smartphone", "cellphone", "camera", "laptop", "tablet", "microphone",
                                "paper", "pen", "reading")),
        "weapon": Kind(("weapon", "sword", "gun", "knife", "katana", "spear", "bow and arrow", "shield", "rifle",
                        "staff", "polearm", "axe")),
        "bag or umbrella": Kind(("umbrella", "parasol", "handbag", "backpack", "shopping bag", "suitcase", "basket",
                                 "school bag", "shoulder bag")),
        "flowers": Kind(("flower", "flowers", "bouquet", "rose", "roses")),
        "instrument or toy": Kind(("instrument", "guitar", "violin", "piano", "ball", "stuffed toy", "stuffed animal",
                                   "teddy bear", "doll", "balloon")),
        "animal": Kind(("cat", "dog", "bird", "animal", "horse", "butterfly", "fish", "holding animal")),
    }, exclusive=False, variety=2, say="name what she holds, where she holds something (holding cup, book)"),
}

SEVERAL_PEOPLE = ("2girls", "3girls", "4girls", "5girls", "6+girls", "multiple girls", "2boys", "3boys", "4boys",
                  "5boys", "6+boys", "multiple boys", "multiple others", "2others", "crowd", "group", "everyone",
                  "couple", "people", "two women", "two girls", "two men", "two people", "three women",
                  "three people", "group of people")
"""Each of these says that more than one person is visible."""
ONE_OF_A_PAIR = (("1girl", "1boy"), ("1girl", "1other"), ("1boy", "1other"), ("a woman and a man",),
                 ("a man and a woman",), ("a girl and a boy",), ("a boy and a girl",))
"""Together, the words of each pair say so too. `solo` overrides the first three, but not prose."""
LETTERING_WORDS = ("watermark", "web address", "signature", "artist name", "twitter username", "username", "logo",
                   "dated", "copyright name", "sample watermark", "speech bubble", "english text", "patreon username",
                   "text", "subtitled", "copyright notice")
"""Tags that say lettering is visible."""
ASYMMETRIC_WORDS = ("heterochromia", "eyepatch", "medical eyepatch", "one eye covered", "hair over one eye",
                    "side ponytail", "one side up", "asymmetrical hair", "asymmetrical bangs", "asymmetrical clothes",
                    "swept bangs", "scar across eye", "scar on cheek", "facial mark", "mole under eye",
                    "mole under mouth", "mole", "single horn", "one horn", "single earring", "single braid",
                    "hairclip", "hair pin", "hairpin", "hair flower", "hair ornament", "arm tattoo", "leg tattoo",
                    "shoulder tattoo", "tattoo", "single thighhigh", "single sleeve", "single glove",
                    "single bare shoulder", "off shoulder", "mismatched legwear", "text", "odd eyes",
                    "prosthetic arm", "single wing", "cape over one shoulder", "badge", "name tag", "armband",
                    "multicolored hair", "two tone hair", "split color hair")
"""A character with one of these looks different when mirrored."""
