"""Archives with members of every kind, for laws and fuzzers."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import warnings
import zipfile
from typing import Literal, NamedTuple

from hypothesis import strategies as st

from tests.security.mangled import NAMES, damaged

TYPES = (
    *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
    *(tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z"),
)
PAX = ("path", "linkpath", "size", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "GNU.sparse.name", "mtime")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tar.xz")


class Member(NamedTuple):
    """A member of an archive; of tar files also its type and extended headers."""

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
    """Return an archive of members, as what writes them takes them or not."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that come twice
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
            info.flag_bits |= member.flags & 0b1  # in the directory: encrypted


def _tar(stream: io.BytesIO, members: list[Member]) -> None:
    formats: tuple[Literal[0, 1, 2], ...] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.type, info.linkname, info.size = member.type, "/etc/hostname", len(member.content)
        info.pax_headers = member.pax
        try:
            header = info.tobuf(formats[member.flags % 3], "utf-8", "surrogateescape")
        except ValueError:  # the format has no room for the name
            continue
        stream.write(header + member.content + bytes(-len(member.content) % tarfile.BLOCKSIZE))
    stream.write(bytes(2 * tarfile.BLOCKSIZE))


@st.composite
def archives(draw: st.DrawFn, suffix: str) -> bytes:
    """Draw an archive with odd members, which may be damaged, or have another in it."""
    members = draw(MEMBERS)
    if draw(st.integers(0, 4)) == 0:
        members.append(Member(f"inner{suffix}", packed(members, suffix), tarfile.REGTYPE, {}, 0))
    content = packed(members, suffix)
    return draw(damaged(content)) if draw(st.booleans()) else content
