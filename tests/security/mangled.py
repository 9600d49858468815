"""Content that no program of ours has written: well-formed and absurd, or damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKUP = "</script><img src=x onerror=alert(1)>"
NAMES = ("../../../elsewhere", "/elsewhere", "..", ".", "", "a/b", "a\\..\\b", "nul\0", "\x1b[2J", "\u202egnp", MARKUP)
# What Python's JSON would not write, by the text that stands for it.
RAW = {
    '"@deep"': "[" * 100_000 + "]" * 100_000,
    '"@infinite"': "1e999",
    '"@digits"': "9" * 5_000,
    '"@lone"': '"\\ud800"',
    '"@long"': '"' + "x" * 10_000_000 + '"',
}
ODD: tuple[Any, ...] = (None, True, -1, 0, 10**400, 2**63, 1e308, float("nan"), -float("inf"), [], {}, [[]], {"a": {}})
ODD += (*NAMES, "1e5", *(text.strip('"') for text in RAW))


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw what becomes of a file that is cut, flipped, prefixed or mixed up."""
    content = bytearray(original)
    at = draw(st.integers(0, max(0, len(content) - 1)))
    match draw(st.integers(0, 5)):
        case 0:
            del content[at:]
        case 1 if content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        case 2:
            content[at:at] = draw(st.binary(min_size=1, max_size=9))
        case 3:
            content[:0] = b"\xef\xbb\xbf"
        case 4:
            content[at:] = content[at:].decode(errors="replace").encode("utf-16")
        case _:
            content = bytearray(draw(st.binary(max_size=100)))
    return bytes(content)


@st.composite
def mangled(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw what becomes of a JSON file when parts of it are left out, replaced or doubled."""
    if draw(st.integers(0, 4)) == 0:
        return draw(damaged(original))
    content = json.loads(original)
    content.pop("checksum", None)  # whoever means harm computes one
    for _ in range(draw(st.integers(1, 2))):
        if places := list(_places(content)):
            holder, key = draw(st.sampled_from(places))
            if draw(st.booleans()):
                holder[key] = draw(st.sampled_from(ODD))
            else:
                del holder[key]
    text = json.dumps(content if draw(st.integers(0, 9)) else draw(st.sampled_from(ODD)))
    if content and text.endswith("}") and draw(st.integers(0, 9)) == 0:
        text = f'{text[:-1]}, {json.dumps(draw(st.sampled_from(list(content))))}: "twice"}}'
    for stands, raw in RAW.items():
        text = text.replace(stands, raw, 1)
    return text.encode()


def _places(content: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - JSON is what it is
    """Yield every value inside an object or a list as what holds it and the key there; of long lists the ends."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in (*keys[:40], *keys[40:][-3:]):
        yield content, key
        yield from _places(content[key])
