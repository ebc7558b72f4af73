"""Builds the sandbox's tokenizer: CLIP's byte-level BPE with a small vocabulary.

Every byte is a token, so any trigger word tokenizes; every word of the world and of common tags is one token.
The start and end tokens are the last two ids, as in CLIP.
"""
from __future__ import annotations

import json
from itertools import pairwise

from .workshop import Workshop
from .world import ATTRIBUTES, SIGNATURE_COLORS

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77

COMMON = """
girl boy girls boys solo woman man person people animal cat dog fox bunny rabbit wolf bird horse dragon bear
hair eyes ears ear tail face head hand hands arm arms leg legs foot feet skin mouth nose teeth tongue lips cheek chest
blue red green yellow purple pink black white brown grey gray orange cyan magenta lime silver golden aqua teal navy
light dark bright pale deep multicolored gradient color colored colors two three tone
long short medium very straight curly wavy messy spiky ponytail braid bun bob bangs twin side up down drill
dress shirt skirt pants shorts jacket coat hoodie sweater uniform school kimono suit armor cape cloak hat cap hood
ribbon bow tie necktie scarf gloves boots shoes socks thighhighs stockings glasses earrings necklace collar belt bag
hairband hairclip hairpin ornament crown tiara flower flowers halo wings horns mask
smile smiling grin frown angry sad happy surprised crying tears blush closed open wink expressionless serious
looking at viewer away back sitting standing walking running jumping lying kneeling holding reaching waving
front behind above below profile portrait close full body upper lower cowboy shot view angle from wide
simple background outdoors indoors sky cloud clouds sun moon star stars night day sunset sunrise snow rain
grass tree trees forest field beach sea ocean water river mountain city street room window house garden desert
flat lineart sketch painting watercolor pastel pixel art style realistic monochrome greyscale anime chibi cartoon
best good high low quality masterpiece detailed absurdres highres worst bad lowres blurry jpeg artifacts
sword shield book cup food cake apple umbrella weapon staff magic fire ice light shadow
a an and of the in on with for to by is it no not one her his she he my your
character concept subject trigger sks ohwx photo picture image drawing illustration
mark odd pin coloured tip heart diamond cheek symbol emblem tattoo scar freckles heterochromia
""".split()


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + k) for k in range(len(others))]


def world_words() -> list[str]:
    tags = [tag for tags in ATTRIBUTES.values() for tag in tags] + list(SIGNATURE_COLORS)
    return [word for tag in tags for word in tag.replace("-", " ").split()]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merges that make each word one token: what earlier merges leave apart is joined from the left."""
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        while len(symbols := _encode(word, ranks)) > 1:
            ranks[(symbols[0], symbols[1])] = len(ranks)
    return list(ranks)


def _encode(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [pair for pair in pairwise(symbols) if pair in ranks]
        if not pairs:
            return symbols
        best, joined, k = min(pairs, key=ranks.__getitem__), [], 0
        while k < len(symbols):
            found = tuple(symbols[k:k + 2]) == best
            joined.append("".join(best) if found else symbols[k])
            k += 2 if found else 1
        symbols = joined


def train_tokenizer(shop: Workshop, _steps: int = 0) -> None:
    """Write `tokenizer/`: vocab.json, merges.txt and the two configs that transformers reads."""
    merges = learn_merges(list(dict.fromkeys(world_words() + COMMON)))
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    # Two sequences of merges to one string share a token, so each string is listed once.
    tokens = list(dict.fromkeys([*tokens, *("".join(pair) for pair in merges), START, END]))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True,
              "add_prefix_space": False, "errors": "replace"}
    folder = shop.base / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("vocab.json", {token: k for k, token in enumerate(tokens)}),
                        ("tokenizer_config.json", config), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shop.log("tokenizer", vocabulary=len(tokens), merges=len(merges))
