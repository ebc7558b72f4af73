"""Finds near duplicates among many images without comparing all pairs: a perceptual hash nominates, alignment decides.

Hash: 64 bits of the DCT (Zauner 2010), of the whole image and of windows of it, also mirrored, so that crops are found
too. Search: multi-index hashing (Norouzi, Punjani & Fleet, "Fast Search in Hamming Space", CVPR 2012). Decision: one
thumbnail is aligned to the other (Lucas & Kanade 1981, shift and scale) and must match everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

THUMB = 64
"""Side of the thumbnails that are aligned."""
RADIUS = 10
"""Hashes that differ in at most this many of 64 bits nominate a pair; all pairs up to 7 apart are found, and most
beyond."""
SAME_MEAN, SAME_BLOCK = 0.05, 0.1
"""Two thumbnails in 0..1 show the same image if they differ by at most this, on average and in their worst block."""
FLAT_RANGE = 8
"""Grey levels between the extremes of an image in which nothing can be seen; compression and paper give a few."""
MOST_NEIGHBOURS = 32
"""In a crowd of similar hashes each is compared, band by band, with only this many neighbours, so that the work stays
linear."""
_HASH_SIDE, _DCT_SIDE, _DCT_LOW = 128, 32, 8
_CROPPED = 0.05
_AXIS_WINDOWS = ((0.0, 1.0), *((_CROPPED * place, 1 - _CROPPED) for place in (0.0, 0.5, 1.0)))
"""(start, length) of a window along one axis, as shares: the whole, and 5 % cut off the end, both ends, the start."""
WINDOWS = len(_AXIS_WINDOWS) ** 2
_BANDS, _BAND_BITS = 4, 16
_BLOCK = 4
_TRIES = 4
"""How many windows are tried, because the window with the nearest hash is not always the right one."""
_WORTH_ALIGNING = 0.12
"""If thumbnails differ by more than this on average, a shift of a few hundredths cannot make them match."""


@dataclass(frozen=True)
class Print:
    """An image's fingerprint: hashes [2 * WINDOWS] (the whole first, the second half mirrored), thumbnail [64, 64, 3]
    of uint8."""

    hashes: Hashes
    thumb: NDArray[np.uint8]


def fingerprint_picture(image: Image.Image) -> Print:
    """The fingerprint of an RGB image, squeezed to a square."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    grey = np.asarray(rgb.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX).convert("L"), dtype=np.float64)
    axes = _axes()
    low = ((axes @ grey)[:, None] @ axes.swapaxes(1, 2)[None]).reshape(WINDOWS, _DCT_LOW, _DCT_LOW)
    mirrored = low * np.where(np.arange(_DCT_LOW) % 2, -1, 1)  # odd waves change their sign
    flat = np.concatenate([low, mirrored]).reshape(2 * WINDOWS, -1)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    hashes = np.packbits(bits, axis=1).view(">u8").astype(np.uint64)[:, 0]
    return Print(hashes, np.array(rgb.resize((THUMB, THUMB), Image.Resampling.BOX)))


@lru_cache(maxsize=1)
def _axes() -> Map:
    """[windows of an axis, 8, 128]: maps a line of pixels to the low DCT of each window."""
    wave = np.arange(_DCT_SIDE)
    basis = np.cos(np.pi / _DCT_SIDE * (wave[None] + 0.5) * wave[:_DCT_LOW, None])
    edges = np.arange(_HASH_SIDE + 1)
    axes = []
    for start, length in _AXIS_WINDOWS:
        cuts = _HASH_SIDE * (start + length * np.arange(_DCT_SIDE + 1) / _DCT_SIDE)
        inside = np.minimum(cuts[1:, None], edges[None, 1:]) - np.maximum(cuts[:-1, None], edges[None, :-1])
        axes.append(basis @ (np.maximum(inside, 0) / (cuts[1:] - cuts[:-1])[:, None]))
    return np.stack(axes)


@dataclass
class Search:
    """The cost of a search. `compared`: pairs of hashes compared; `aligned`: pairs of thumbnails aligned."""

    compared: int = 0
    aligned: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)
    """(earlier, later) images found to be the same."""


def find_duplicates(hashes: Hashes, thumb: Callable[[int], NDArray[np.uint8]],
                    search: Search | None = None) -> list[list[int]]:
    """Groups of two or more images that are copies of one another, in order. Groups are sorted by their first image.

    Args:
        hashes: [N, 2 * WINDOWS], the rows `Print.hashes`.
        thumb: index → the image's thumbnail; called only for images that a hash nominates.
        search: filled in with what the search cost.
    """
    search = search if search is not None else Search()
    parent = list(range(len(hashes)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for tries in _nominate_pairs(hashes, search):
        a, b = tries[0][1:3]
        if root(a) == root(b):
            continue
        search.aligned += 1
        if any(same_picture(thumb(a), thumb(b), window) for _, a, b, window in tries):
            search.pairs.append((min(a, b), max(a, b)))
            low, high = sorted((root(a), root(b)))
            parent[high] = low
    groups: dict[int, list[int]] = {}
    for index in range(len(hashes)):
        groups.setdefault(root(index), []).append(index)
    return [members for members in groups.values() if len(members) > 1]


def group_copies(prints: Sequence[Print]) -> list[list[int]]:
    """Groups of two or more of these images that are copies of one another, as from `find_duplicates`."""
    return find_duplicates(_hashes_of(prints), lambda index: prints[index].thumb)


def copies_of(prints: Sequence[Print], originals: Sequence[Print]) -> list[bool]:
    """Which of the images are copies of one of the originals. Copies among the originals do not matter."""
    both, copied = [*prints, *originals], [False] * len(prints)
    for tries in _nominate_pairs(_hashes_of(both), Search()):
        picture, original = sorted(tries[0][1:3])
        if picture < len(prints) <= original and not copied[picture]:
            copied[picture] = any(same_picture(both[a].thumb, both[b].thumb, window) for _, a, b, window in tries)
    return copied


def _hashes_of(prints: Sequence[Print]) -> Hashes:
    return np.array([own.hashes for own in prints], dtype=np.uint64).reshape(-1, 2 * WINDOWS)


Try = tuple[int, int, int, int]
"""(distance, a, b, window): the whole of b resembles that window of a."""


def _nominate_pairs(hashes: Hashes, search: Search) -> Iterator[list[Try]]:
    """For each pair, once, the ways in which one image may match the other, likeliest first. The likeliest pairs come
    first."""
    whole, windows = hashes[:, 0], hashes.shape[1]
    found: list[NDArray[np.int64]] = []
    for query, b in _near(hashes.reshape(-1), whole):
        a, window = query // windows, query % windows
        other = a != b
        a, b, window = a[other], b[other], window[other]
        distance = bits_apart(hashes[a, window], whole[b])
        search.compared += len(distance)
        near = distance <= RADIUS
        found.append(np.stack([distance[near], a[near], b[near], window[near]]))
    tries = np.unique(np.concatenate(found, axis=1), axis=1)  # several bands may find the same one; sorted by distance
    if not tries.size:
        return
    pair = np.minimum(tries[1], tries[2]) * len(hashes) + np.maximum(tries[1], tries[2])
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    for group in np.argsort(order[starts], kind="stable"):
        members = order[starts[group] : min(ends[group], starts[group] + _TRIES)]
        yield [tuple(column) for column in tries[:, members].T.tolist()]


def bits_apart(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """The number of bits in which hashes differ."""
    return _bits()[(a ^ b).astype(np.uint64)[..., None].view(np.uint16)].sum(-1, dtype=np.int64)


@lru_cache(maxsize=1)
def _bits() -> NDArray[np.uint8]:
    """The number of set bits in each 16-bit number."""
    return np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(1 << 16, 16).sum(1, dtype=np.uint8)


def _near(queries: Hashes, index: Hashes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(query, entry) pairs in which a 16-bit band differs by at most one bit. Two hashes at most 7 bits apart have such
    a band, since there are four bands."""
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        mask = np.uint64((1 << _BAND_BITS) - 1)
        keys = (index >> shift) & mask
        order = np.lexsort((index, keys))
        keys = keys[order]
        asked = (queries >> shift) & mask
        room = np.full(len(queries), MOST_NEIGHBOURS)
        for flip in (0, *(1 << bit for bit in range(_BAND_BITS))):
            wanted = asked ^ np.uint64(flip)
            first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
            first, last = _not_crowded(first, last, room, queries, index[order])
            many = last - first
            room -= many
            query = np.repeat(np.arange(len(queries)), many)
            place = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many) + np.repeat(first, many)
            yield query, order[place]


def _not_crowded(first: Places, last: Places, room: Places, queries: Hashes,
                 sorted_index: Hashes) -> tuple[Places, Places]:
    """At most `room` entries of each range: those next to the query in the order of the hashes."""
    for k in np.nonzero(last - first > room)[0]:
        place = first[k] + np.searchsorted(sorted_index[first[k]:last[k]], queries[k])
        start = min(max(first[k], place - room[k] // 2), last[k] - room[k])
        first[k], last[k] = start, start + room[k]
    return first, last


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8], window: int = 0) -> bool:
    """Whether thumbnail b shows that window of a (mirrored from WINDOWS on), apart from compression and small crops.
    Two images in which nothing can be seen have nothing to compare, so they do not count as the same."""
    if is_flat(a) or is_flat(b):
        return False
    mean, worst = difference(a, b, window)
    return mean <= SAME_MEAN and worst <= SAME_BLOCK


def is_flat(pixels: NDArray[np.uint8]) -> bool:
    """Whether nothing can be seen in [H, W, 3]: no channel has more than FLAT_RANGE between its extremes."""
    return bool(np.ptp(pixels.reshape(-1, pixels.shape[-1]), axis=0).max() <= FLAT_RANGE)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8], window: int = 0) -> tuple[float, float]:
    """(mean, mean of the worst block) of |a - b| in 0..1, after aligning a to b by shift and scale."""
    first, second = a.astype(np.float64) / 255, b.astype(np.float64) / 255
    if window >= WINDOWS:
        second = second[:, ::-1]
    down, across = divmod(window % WINDOWS, len(_AXIS_WINDOWS))
    start = np.array([*_AXIS_WINDOWS[down], *_AXIS_WINDOWS[across]])
    apart = _measure_distance(_laid(first, start), second)
    if apart.mean() <= _WORTH_ALIGNING:
        apart = _measure_distance(_laid(first, _align(first.mean(2), second.mean(2), start)), second)
    count = len(apart) // _BLOCK
    blocks = apart.reshape(count, _BLOCK, count, _BLOCK).mean((1, 3))
    return float(apart.mean()), float(blocks.max())


def _measure_distance(laid: Map, second: Map) -> Map:
    """[28, 28] distance between two thumbnails, over pairs of pixels, so that compression of single pixels and the rest
    of a shift count little. The rim is left out, because it may show what the other image lacks."""
    rim = 4
    gap = (laid - second)[rim:-rim, rim:-rim]
    half = len(gap) // 2
    return np.abs(gap.reshape(half, 2, half, 2, 3).mean((1, 3))).mean(2)


def _laid(first: Map, place: NDArray[np.float64]) -> Map:
    return np.stack([_resample(first[..., channel], place) for channel in range(3)], axis=-1)


def _align(grey: Map, target: Map, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The window of `grey` most like `target`, by Gauss-Newton over its start and length along both axes."""
    step, best, best_error = 0.25 / THUMB, place, math.inf
    for _ in range(8):
        wrong = (target - _resample(grey, place))[1:-1, 1:-1].ravel()
        if (error := float(wrong @ wrong)) < best_error:
            best, best_error = place, error
        slopes = np.stack([
            (_resample(grey, place + step * unit) - _resample(grey, place - step * unit))[1:-1, 1:-1].ravel()
            for unit in np.eye(4)]) / (2 * step)
        change = np.linalg.lstsq(slopes @ slopes.T + 1e-6 * np.eye(4), slopes @ wrong, rcond=None)[0]
        if np.abs(change).max() < 1e-4:
            break
        place = place + np.clip(change, -0.02, 0.02)
    whole = np.array([0.0, 1.0, 0.0, 1.0])
    return best if np.abs(best - whole).max() <= 2.5 * _CROPPED else whole


def _resample(grey: Map, place: NDArray[np.float64]) -> Map:
    """The window (start, length down; start, length across) of a square map, linearly interpolated to its size."""
    return _interpolation(*place[:2]) @ grey @ _interpolation(*place[2:]).T


def _interpolation(start: float, length: float) -> Map:
    at = THUMB * (start + length * (np.arange(THUMB) + 0.5) / THUMB) - 0.5
    return np.maximum(0, 1 - np.abs(np.clip(at, 0, THUMB - 1)[:, None] - np.arange(THUMB)[None]))


def best_of(members: Sequence[int], worth: Callable[[int], Any]) -> int:
    """The member of a group to keep: the one with the highest worth, the earliest among equals."""
    return max(members, key=lambda member: (worth(member), -member))
