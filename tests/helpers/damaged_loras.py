"""LoRA files that are damaged, malformed or hostile, each by what is wrong with it."""

import json
import math
import struct

from safetensors.torch import save

from .lora_files import plain

MODULE = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
UP, DOWN, ALPHA = (f"{MODULE}.{end}" for end in ("lora_up.weight", "lora_down.weight", "alpha"))
DEEP = 100_000


class LoraBytes:
    """The bytes of a LoRA with one layer, part by part."""

    def __init__(self):
        data = save({f"{MODULE}.{end}": tensor.contiguous() for end, tensor in plain(4, 1, 32, 32).items()})
        length = int.from_bytes(data[:8], "little")
        self.rows, self.data = json.loads(data[8:8 + length]), data[8 + length:]

    def whole(self, rows=None, metadata=None, data=None, header=None, length=None):
        table = ({} if metadata is None else {"__metadata__": metadata}) | (self.rows if rows is None else rows)
        text = json.dumps(table).encode() if header is None else header
        size = len(text) if length is None else length
        return struct.pack("<Q", size) + text + (self.data if data is None else data)

    def changed(self, key, **values):
        return self.whole({**self.rows, key: {**self.rows[key], **values}})

    def filled(self, key, value):
        start, stop = self.rows[key]["data_offsets"]
        values = struct.pack("<f", value) * ((stop - start) // 4)
        return self.whole(data=self.data[:start] + values + self.data[stop:])

    def told(self, table, drop_alpha=True):
        rows = {key: row for key, row in self.rows.items() if not (drop_alpha and key == ALPHA)}
        return self.whole(rows, {"lora_adapter_metadata": table if isinstance(table, str) else json.dumps(table)})


def damaged_files():
    """Name → bytes."""
    one = LoraBytes()
    good, start = one.whole(), one.rows[UP]["data_offsets"][0]
    header = json.dumps(one.rows).encode()
    deep = b"[" * DEEP + b"]" * DEEP
    nested = b'{"a":' * DEEP + b"1" + b"}" * DEEP
    return {
        **_cut(one, good), **_headers(one, header, deep, nested),
        **{f"offsets {value!r}": one.changed(UP, data_offsets=value) for value in (
            [0.0, 512.0], ["0", "512"], [0, 1, 2], None, [False, True], [-8, 504], [512, 0], [2**62, 2**62 + 512],
            [start, math.inf], {}, [start])},
        **{f"shape {value!r}": one.changed(DOWN, shape=value) for value in (
            [4.0, 32.0], [True, 128], [-1, -128], [2**40, 2**40], ["4", "32"], None, {}, [128], [1] * 50 + [4, 32],
            [4, 32, 1], [[4, 32]], 128)},
        "no size": one.changed(DOWN, shape=[0, 32], data_offsets=[0, 0]), "alpha's shape is true": one.changed(
            ALPHA, shape=[True]),
        **{f"type {value!r}": one.changed(DOWN, dtype=value) for value in (
            "I8", "BOOL", "F8_E4M3", "C64", "XYZ", "", None, ["F32"], 7)},
        **{f"row {value!r}": one.whole({**one.rows, UP: value}) for value in ([1, 2], None, {}, "x", 3)},
        **{f"metadata {value!r}": one.whole(metadata=value) for value in ({"a": 1}, {"a": {"b": 1}}, [1], "x", 5)},
        **_tables(one), **_numbers(one), **_names(one, good),
    }


def _cut(one, good):
    return {"empty": b"", "seven bytes": b"1234567", "zeros": bytes(1024), "more after it": good + b"junk",
            **{f"cut to {share}": good[:int(len(good) * share)] for share in (0.01, 0.3, 0.6, 0.999)},
            **{f"length {length}": one.whole(length=length) for length in (0, 1, 2 << 30, 2**63, 2**64 - 1)},
            "pickle": b"\x80\x04\x95" + b"x" * 100, "zip": b"PK\x03\x04" + b"x" * 100, "page": b"<!DOCTYPE html><html>"}


def _headers(one, header, deep, nested):
    rows = {"a list": b"[]", "a number": b"12", "null": b"null", "a text": b'"aa"', "nothing": b"{}",
            "no JSON": b"{not json", "no UTF-8": b'{"\xff\xfe":1}', "behind a mark": b"\xef\xbb\xbf" + header,
            "deep": b'{"a":' + deep + b"}", "deep in metadata": b'{"__metadata__":' + nested + b"}",
            "deep in a value of metadata": b'{"__metadata__":{"a":' + deep + b"}," + header[1:],
            "of NaN": b'{"a":NaN}', "of a huge number": b'{"a":' + b"9" * 6000 + b"}",
            "key twice": header[:-1] + b',"' + UP.encode() + b'":' + json.dumps(one.rows[DOWN]).encode() + b"}"}
    return {f"header {name}": one.whole(header=text) for name, text in rows.items()}


def _tables(one):
    pattern = {"lora_alpha": 4, "r": 4}
    tables = [
        "[]", "{oops", "[" * DEEP, '{"unet.alpha_pattern":' + '{"a":' * DEEP, "null", "7", '"x"',
        {"unet.alpha_pattern": [1]}, {"unet.alpha_pattern": "x"}, {"unet.alpha_pattern": {"(": 1}},
        {"unet.alpha_pattern": {"[": "x", "": None}}, {"unet.alpha_pattern": {"([a-z0-9_.]+)+!": 1}},
        {"unet.alpha_pattern": {"(.*)*(.*)*(.*)*$": 1}}, {"unet.alpha_pattern": None, "unet.rank_pattern": [1]},
        *({"unet.lora_alpha": value} for value in (
            "x", None, True, [4], {}, math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, 10**4000)),
        *({"unet.lora_alpha": 4, "unet.use_rslora": value} for value in ("yes", 1, None, [])),
        {f"unet.{name}": value for name, value in pattern.items()},
    ]
    texts = [table if isinstance(table, str) else json.dumps(table) for table in tables]
    return {f"alphas {text[:60]} {number}": one.told(text) for number, text in enumerate(texts)}


def _numbers(one):
    values = {f"{name} {text[:8]!r}": one.whole(metadata={name: text}) for name in ("ss_steps", "ss_epoch")
              for text in ("9" * 5000, "²", "٣", "-1", "1e9", " 7", "")}
    texts = {f"{name} deep": one.whole(metadata={name: "[" * DEEP}) for name in (
        "lora_bootstrap.config", "lora_bootstrap.lineage", "ss_tag_frequency")}
    values["half a character"] = one.whole(metadata={"ss_output_name": "\ud800", "modelspec.trigger_phrase": "\udfff"})
    kinds = {f"config {text}": one.whole(metadata={"lora_bootstrap.config": text}) for text in (
        "[]", '{"kind": [1]}', '{"kind": null}', '{"kind": {"a": {}}}', "null")}
    weights = {f"{key.rpartition('.')[2]} of {value}": one.filled(key, value) for key in (UP, DOWN, ALPHA)
               for value in (math.nan, math.inf, -math.inf, 3e38, 1e-45, 0.0)}
    return {**values, **texts, **kinds, **weights}


def _names(one, good):
    def renamed(module):
        return one.whole({key.replace(MODULE, module): row for key, row in one.rows.items()})

    names = {
        "no name": "", "a name of 100,000 letters": "lora_unet_" + "a_" * 50_000,
        "dots": "diffusion_model." + "." * 5000,
        "a block of 5,000 digits": f"unet.down_blocks.{'1' * 5000}.attentions.0.to_q",
        "an input block of 5,000 digits": f"lora_unet_input_blocks_{'1' * 5000}_1_proj_in",
        "a way out": "lora_unet_../../../etc/passwd", "line breaks": "lora_unet_a\nb\r\x00c",
        "another script": "lora_unet_日本_😀", "a strange number": "unet.down_blocks.².to_q",
    }
    alone = {f"only {end}": one.whole({key: row for key, row in one.rows.items() if key.endswith(end)})
             for end in ("up.weight", "down.weight", "alpha")}
    return {**{f"layer with {name}": renamed(module) for name, module in names.items()}, **alone,
            "nothing wrong": good}
