"""Aliases (two names of one tag) and implications (a tag that implies another): a small table, and a user's CSV.

A CSV has two columns, with or without a header, as Danbooru's dumps have: `antecedent_name,consequent_name`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..common.errors import UserError
from .class_words import GARMENTS
from .tags import same_tag, spaced

_ALIASES = {
    "grey": ("gray",), "grey eyes": ("gray eyes",), "grey hair": ("gray hair"),
    "blonde hair": ("blond hair", "yellow hair"), "brown hair": ("brunette", "brunette hair"),
    "greyscale": ("grayscale",), "1girl": ("one girl", "single girl"), "1boy": ("one boy", "single boy"),
    "close-up": ("close up", "closeup"), "cat ears": ("nekomimi",),
    "fox ears": ("kitsunemimi",), "dog ears": ("inumimi",), "animal ears": ("kemonomimi",),
    "twintails": ("twin tails", "pigtails"), "ponytail": ("pony tail",), "hairclip": ("hair clip",),
    "hairband": ("hair band",), "thighhighs": ("thigh highs", "thigh-highs"), "pantyhose": ("tights",),
    "looking at viewer": ("looking at camera", "facing camera", "looking at the viewer"),
    "from behind": ("back view", "rear view"), "from side": ("side view",), "portrait": ("headshot", "head shot"),
    "full body": ("full-body", "full body shot"), "upper body": ("half body", "waist up"),
    "light smile": ("slight smile",), "closed eyes": ("eyes closed",), "open mouth": ("mouth open",),
    "closed mouth": ("mouth closed",), "one eye closed": ("wink", "winking"), "light blush": ("slight blush",),
    "v": ("peace sign",), "outdoors": ("outside", "outdoor"), "indoors": ("inside", "indoor"),
    "backlighting": ("backlight", "back lighting"), "white background": ("plain white background",),
    "lineart": ("line art",), "watercolor": ("watercolour",), "sketch": ("sketchy",),
    "flat color": ("flat colors", "flat colour"), "pixel art": ("pixelart",), "medium breasts": ("average breasts",),
    "very long hair": ("extremely long hair",), "bare shoulders": ("naked shoulders",), "eyewear on head": (
        "glasses on head",), "jewelry": ("jewellery",), "grin": ("grinning",), "smile": ("smiling",),
}
_IMPLICATIONS = {
    "animal ears": ("fox ears", "cat ears", "dog ears", "wolf ears", "rabbit ears", "bunny ears", "bear ears",
                    "mouse ears", "horse ears", "tiger ears", "cow ears", "sheep ears", "goat ears", "raccoon ears",
                    "deer ears"),
    "tail": ("fox tail", "cat tail", "dog tail", "wolf tail", "rabbit tail", "dragon tail", "demon tail", "horse tail",
             "mouse tail", "tiger tail", "cow tail", "fish tail", "lizard tail", "multiple tails"),
    "wings": ("angel wings", "demon wings", "bat wings", "dragon wings", "butterfly wings", "feathered wings",
              "fairy wings", "mechanical wings", "black wings", "white wings", "low wings", "head wings"),
    "horns": ("demon horns", "dragon horns", "curled horns", "oni horns", "sheep horns", "goat horns", "cow horns",
              "single horn"),
    "long hair": ("very long hair", "absurdly long hair"), "very long hair": ("absurdly long hair",),
    "short hair": ("very short hair", "pixie cut", "bob cut"),
    "twintails": ("low twintails", "short twintails", "twin drills", "uneven twintails"),
    "ponytail": ("high ponytail", "low ponytail", "side ponytail", "short ponytail", "folded ponytail"),
    "braid": ("single braid", "twin braids", "french braid", "side braid", "crown braid", "braided ponytail",
              "multiple braids"),
    "bangs": ("blunt bangs", "swept bangs", "parted bangs", "asymmetrical bangs", "long bangs", "short bangs",
              "crossed bangs", "choppy bangs", "braided bangs"),
    "smile": ("grin", "smirk", "light smile", "evil smile", "seductive smile", "crazy smile", "sad smile"),
    "blush": ("light blush", "full-face blush", "nose blush"), "tears": ("streaming tears", "crying with eyes open"),
    "sky": ("blue sky", "night sky", "cloudy sky", "starry sky", "evening sky", "orange sky", "gradient sky"),
    "night sky": ("starry sky",), "night": ("night sky", "starry sky"), "cloud": ("cloudy sky",),
    "simple background": ("white background", "grey background", "black background", "blue background",
                          "pink background", "yellow background", "green background", "red background",
                          "brown background", "purple background", "orange background", "beige background",
                          "gradient background", "two-tone background", "transparent background"),
    "outdoors": ("city street", "forest", "beach", "rooftop", "garden", "park"),
    "indoors": ("bedroom", "classroom", "kitchen", "bathroom", "train interior", "car interior"),
    "breasts": ("small breasts", "medium breasts", "large breasts", "huge breasts", "gigantic breasts"),
    "school uniform": ("serafuku", "sailor school uniform"),
    "swimsuit": ("bikini", "one-piece swimsuit", "school swimsuit"),
    "japanese clothes": ("kimono", "yukata", "hakama", "haori"),
    "hair ornament": ("hairclip", "hairpin", "hair flower", "hair bow", "hair ribbon", "hair bobbles"),
    "traditional media": ("watercolor (medium)", "colored pencil (medium)", "acrylic paint (medium)"),
    "multiple girls": ("2girls", "3girls", "4girls", "5girls", "6+girls"),
    "multiple boys": ("2boys", "3boys", "4boys", "5boys", "6+boys"), "arms up": ("arms behind head",),
    "holding": ("holding weapon", "holding cup", "holding book", "holding phone", "holding food", "holding umbrella",
                "holding flower", "holding sword"),
}
LOOKS = frozenset("""
    red orange yellow green aqua blue purple pink brown black white grey gray silver gold golden beige striped plaid
    checkered dotted floral print frilled lace torn long short high low sleeveless pleated denim leather fur-trimmed
    see-through transparent wet unworn""".split())
"""Words that may precede a garment without making it another thing: a `red ring` is a ring, a `boxing ring` is not."""
MODES = ("off", "drop", "add")
_HEADS = ("antecedent", "antecedent_name", "alias", "from", "tag", "old", "source")


def _pairs(table: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    return ((part, whole) for whole, parts in table.items() for part in parts)


@dataclass(frozen=True)
class TagRules:
    """Rules on tags, spelled with blanks.

    Attributes:
        aliases: a name -> the name that is used instead.
        implications: (a tag, a tag that it implies).
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    implications: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def _aliases(self) -> dict[str, str]:
        return {same_tag(old): new for old, new in self.aliases.items()}

    @cached_property
    def _implied(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for part, whole in sorted(self.implications):
            found.setdefault(same_tag(part), []).append(whole)
        return {part: tuple(wholes) for part, wholes in found.items()}

    def canonical(self, tag: str) -> str:
        """The usual name of this tag: the tag itself if it is not an alias."""
        seen = set()
        while (key := same_tag(tag)) in self._aliases and key not in seen:
            seen.add(key)
            tag = self._aliases[key]
        return tag

    def implied(self, tag: str) -> tuple[str, ...]:
        """The tags that this tag implies, directly or through others, nearest first: `starry sky` implies `night sky`,
        `sky` and `night`. A garment of a colour or cut implies the garment: `white dress` implies `dress`."""
        found: dict[str, None] = {}
        waiting = [tag]
        while waiting:
            part = waiting.pop(0)
            for whole in (*self._implied.get(same_tag(part), ()), *_garments(part)):
                if same_tag(whole) != same_tag(tag) and whole not in found:
                    found[whole] = None
                    waiting.append(whole)
        return tuple(found)

    def extended(self, aliases: Mapping[str, str] | None = None,
                 implications: Iterable[tuple[str, str]] = ()) -> TagRules:
        """These rules and more; an alias given here overrides an existing one. Raises UserError for a circle."""
        fresh = {same_tag(old): new for old, new in (aliases or {}).items()}
        kept = {old: new for old, new in self.aliases.items() if same_tag(old) not in fresh
                and same_tag(old) not in {same_tag(new) for new in fresh.values()}}
        rules = TagRules({**kept, **(aliases or {})}, self.implications | set(implications))
        for old in fresh:
            _refuse_circle(old, rules)
        return rules


def _garments(tag: str) -> tuple[str, ...]:
    look, _, garment = same_tag(tag).partition(" ")
    return (garment,) if look in LOOKS and garment in GARMENTS else ()


def _refuse_circle(start: str, rules: TagRules) -> None:
    path = [start]
    while (following := rules._aliases.get(path[-1])) is not None:
        path.append(same_tag(following))
        if path[-1] in path[:-1]:
            raise UserError(f"aliases form a circle: {' -> '.join(path)}. Remove one of them.")


OWN_RULES = TagRules({old: new for old, new in _pairs(_ALIASES)}, frozenset(_pairs(_IMPLICATIONS)))
"""The pack's own small table."""


def load_rules(aliases: str | Path | None = None, implications: str | Path | None = None,
               base: TagRules = OWN_RULES) -> TagRules:
    """`base` with the rules of a user's CSV files. Raises UserError, with the line, for a rule that cannot be used."""
    return base.extended(dict(_read_pairs(Path(aliases))) if aliases else {},
                         _read_pairs(Path(implications)) if implications else ())


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}). Save it as one.") from error
    columns = _columns(rows[0]) if rows else None
    pairs = []
    for number, row in enumerate(rows[1:] if columns else rows, 2 if columns else 1):
        if not any(cell.strip() for cell in row):
            continue
        first, second = columns or (0, 1)
        cells = [spaced(row[place].strip()) if place < len(row) else "" for place in (first, second)]
        if not all(cells):
            raise UserError(f"line {number} of {path} is {','.join(row)!r}; each line needs two tags, such as "
                            "fox ears,animal ears.")
        pairs.append((cells[0], cells[1]))
    return pairs


def _columns(head: Sequence[str]) -> tuple[int, int] | None:
    """The indices of the two columns if the first row is a header, else None."""
    names = [cell.strip().lower() for cell in head]
    for place, name in enumerate(names):
        if name in _HEADS:
            follower = next((i for i, other in enumerate(names) if other.startswith("consequent")), place + 1)
            return place, follower
    return None
