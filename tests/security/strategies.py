"""Hypothesis strategies for hostile input: damaged files, JSON that is well-formed and absurd, and archives."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import stat
import tarfile
import warnings
import zipfile
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKUP = "</script><img src=x onerror=alert(1)>"
NAMES = ("../../../elsewhere", "/elsewhere", "..", ".", "", "a/b", "a\\..\\b", "nul\0", "\x1b[2J", "\u202egnp", MARKUP)
# JSON texts that Python's encoder does not write, by the string that stands for each.
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
    """Draw a file with one kind of damage: cut off, bits flipped, bytes inserted or deleted, re-encoded or replaced."""
    content = bytearray(original)
    places = st.integers(0, max(0, len(content) - 1))
    at = draw(places)
    match draw(st.integers(0, 6)):
        case 0:
            del content[at:]
        case 1 if content:
            for place in [at, *draw(st.lists(places, max_size=20))]:
                content[place] ^= 1 << draw(st.integers(0, 7))
        case 2:
            content[at:at] = draw(st.binary(min_size=1, max_size=9))
        case 3:
            del content[at : at + draw(st.integers(1, 9))]
        case 4:
            content[:0] = b"\xef\xbb\xbf"
        case 5:
            content[at:] = content[at:].decode(errors="replace").encode("utf-16")
        case _:
            content = bytearray(draw(st.binary(max_size=100)))
    return bytes(content)


@st.composite
def mangled(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw a JSON file with values left out or replaced, or a key given twice; or a damaged one."""
    if draw(st.integers(0, 4)) == 0:
        return draw(damaged(original))
    content = json.loads(original)
    content.pop("checksum", None)  # an attacker would compute the right one
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
    """Yield every value of an object or list, recursively, as (container, key); of long lists only both ends."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in (*keys[:40], *keys[40:][-3:]):
        yield content, key
        yield from _places(content[key])


TYPES = (
    *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
    *(tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z"),
)
PAX = ("path", "linkpath", "size", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "GNU.sparse.name", "mtime")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tar.xz")


class Member(NamedTuple):
    """A member of an archive. The type and the extended headers `pax` are for tar files."""

    name: str
    content: bytes
    type: bytes
    pax: dict[str, str]
    flags: int


_NAME = st.sampled_from([name for name in NAMES if "\0" not in name]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30
)
_PAX = st.dictionaries(
    st.sampled_from(PAX), st.sampled_from(["0", "-1", "9" * 30, "0,1,2", "x", *NAMES[:3]]), max_size=3
)
MEMBERS = st.lists(
    st.builds(
        Member,
        _NAME.map(lambda name: f"{name}.mid") | _NAME,
        st.binary(max_size=600),
        st.sampled_from(TYPES),
        _PAX,
        st.integers(0, 2**16 - 1),
    ),
    max_size=5,
)


def packed(members: list[Member], suffix: str) -> bytes:
    """Return an archive of members. Those that its format cannot express are left out."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate names
        (_zip if suffix == ".zip" else _tar)(stream, members)
    content = stream.getvalue()
    if suffix == ".tar.gz":
        return gzip.compress(content)
    return lzma.compress(content) if suffix == ".tar.xz" else content


def _zip(stream: io.BytesIO, members: list[Member]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name or "x")
            info.compress_type = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[member.flags % 2]
            info.external_attr = (stat.S_IFLNK if member.type == tarfile.SYMTYPE else 0) << 16
            with archive.open(info, "w", force_zip64=member.flags % 3 == 0) as file:
                file.write(member.content)
            info.flag_bits |= member.flags & 0b1  # the directory says "encrypted"


def _tar(stream: io.BytesIO, members: list[Member]) -> None:
    formats: tuple[Literal[0, 1, 2], ...] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.type, info.linkname, info.size = member.type, "/etc/hostname", len(member.content)
        info.pax_headers = member.pax
        try:
            header = info.tobuf(formats[member.flags % 3], "utf-8", "surrogateescape")
        except ValueError:  # the name is too long for the format
            continue
        stream.write(header + member.content + bytes(-len(member.content) % tarfile.BLOCKSIZE))
    stream.write(bytes(2 * tarfile.BLOCKSIZE))


@st.composite
def archives(draw: st.DrawFn, suffix: str) -> bytes:
    """Draw an archive with odd members. It may contain another archive or be damaged."""
    members = draw(MEMBERS)
    if draw(st.integers(0, 4)) == 0:
        members.append(Member(f"inner{suffix}", packed(members, suffix), tarfile.REGTYPE, {}, 0))
    content = packed(members, suffix)
    return draw(damaged(content)) if draw(st.booleans()) else content
