"""The published corpora: title, licence, citation, address, and checksums of their files.

None stands for an unknown value. The contents were computed from copies of the publishers' repositories at the commits
below. The other addresses have not been downloaded from; their checksums are those that several projects agree on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Licence:
    """The terms of use of the notes.

    Attributes:
        name: Argument of `--accept-licence`: an SPDX identifier, or "none-stated".
        note: Terms in words, as far as they are known.
        consent: Whether a download requires that the user accepts the licence by name: it forbids commercial use, or no
            licence is stated.
    """

    name: str
    note: str
    consent: bool


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive that a program may download.

    Attributes:
        url: Address of the archive.
        file: Name of the downloaded file.
        checksum: "sha256:HEX", "md5:HEX", or "git:HEX" (git's name of the blob). None if the host creates the archive
            for every download; then only its content can be verified.
    """

    url: str
    file: str
    checksum: str | None


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """An archive that only a person can download.

    Attributes:
        page: Address of the page to start from.
        how: Instructions for that page.
        file: Name of the downloaded file.
        checksum: Checksum in the format of `Archive`.
    """

    page: str
    how: str
    file: str
    checksum: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """The MIDI files of a published corpus.

    Attributes:
        pack: Name of their folder in `ETUDE_DATA`, or of an archive of that folder without the ending.
        origin: Publisher's download.
        members: Regular expression with one group that matches the full names of the files of the corpus. The group is
            the id. It is the same in a pack, in the publisher's archive and in a folder with the unpacked archive.
        files: Number of files.
        content: Hex SHA-256 of the sorted hex SHA-256s of the files, one per line; None if it is unknown.
    """

    pack: str
    origin: Archive | ByHand
    members: str
    files: int
    content: str | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published corpus.

    Attributes:
        title: Description in words.
        licence: Terms of use.
        citation: Work to cite.
        source: Files and where to get them.
    """

    title: str
    licence: Licence
    citation: str
    source: Published


def _github(repository: str, commit: str) -> Archive:
    """Return the archive of a repository at a commit; its files are in a folder with the archive's name."""
    return Archive(
        url=f"https://codeload.github.com/{repository}/zip/{commit}",
        file=f"{repository.split('/')[1]}-{commit}.zip",
        checksum=None,  # GitHub creates the archive for every download and does not promise equal bytes
    )


def _lakh(file: str, sha256: str) -> Archive:
    return Archive(url=f"http://hog.ee.columbia.edu/craffel/lmd/{file}", file=file, checksum=f"sha256:{sha256}")


_LAKH_LICENCE = Licence(
    name="CC-BY-4.0",
    note="for any use with attribution, according to the compiler, who does not own the songs; most are in copyright",
    consent=False,
)
_LAKH_CITATION = (
    "C. Raffel, Learning-Based Methods for Comparing Sequences, with Applications to Audio-to-MIDI Alignment and "
    "Matching, PhD thesis, Columbia University, 2016"
)
_NON_COMMERCIAL = Licence(
    name="CC-BY-NC-SA-4.0",
    note="for non-commercial use with attribution; what is made of it is passed on under the same terms only",
    consent=True,
)
_POP909 = "Z. Wang et al., POP909: A Pop-song Dataset for Music Arrangement Generation, ISMIR 2020"

PUBLISHED = {
    "adl": Entry(
        title="ADL Piano MIDI: piano tracks cut out of Lakh MIDI, and piano files from the web, in 18 genres",
        licence=Licence(
            name="none-stated",
            note="its authors state none and many songs are in copyright: for research, not to be passed on",
            consent=True,
        ),
        citation=(
            "L. N. Ferreira, L. H. S. Lelis and J. Whitehead, Computer-Generated Music for Tabletop Role-Playing "
            "Games, AIIDE 2020"
        ),
        source=Published(
            pack="adl-piano-midi",
            origin=Archive(
                url=(
                    "https://github.com/lucasnfe/adl-piano-midi/raw/bdb483614c25d64794c798a21adde9504eb09719/"
                    "midi/adl-piano-midi.zip"
                ),
                file="adl-piano-midi.zip",
                checksum="git:3d00b27fa0b3c5c440f0d3010812cde11fe2f29a",
            ),
            members=r"(?:.*/)?([^/]+/[^/]+/[^/]+/[^/]*\.mid)",  # genre/subgenre/artist/title
            # Of a copy that was unpacked from this zip. Its authors state 11,086, and some names in it occur twice: the
            # zip may verify with 11 files more.
            files=11_075,
            content="3e47cf54af41e9d5c2385ce420b40c05b3a4656f0ce1966eb815573dce737362",
        ),
    ),
    "lakh-piano": Entry(
        title="the piano of Lakh MIDI (LMD-full)",
        licence=_LAKH_LICENCE,
        citation=_LAKH_CITATION,
        source=Published(
            pack="lmd_full",
            origin=_lakh("lmd_full.tar.gz", "6fcfe2ac49ca08f3f214cec86ab138d4fc4dabcd7f27f491a838dae6db45a12b"),
            members=r"(?:.*/)?([0-9a-f]{32}\.mid)",
            files=178_561,  # in the archive; the home page says 176,581
            content=None,
        ),
    ),
    "lakh-matched-piano": Entry(
        title="the piano of those files of Lakh MIDI that were matched to the Million Song Dataset (LMD-matched)",
        licence=_LAKH_LICENCE,
        citation=_LAKH_CITATION,
        source=Published(
            pack="lmd_matched",
            origin=_lakh("lmd_matched.tar.gz", "621ff830aed771f469e5bfa13dc12a33c6ed69090adeda63d0b5c47783af0191"),
            members=r"(?:.*/)?(TR[0-9A-Z]+/[0-9a-f]{32}\.mid)",  # the matched song, and the file
            files=116_189,  # of 45,129 contents: a file may match several songs
            content=None,
        ),
    ),
    "maestro": Entry(
        title="MAESTRO v3.0.0: performances of classical piano music in competition, recorded on a Disklavier",
        licence=_NON_COMMERCIAL,
        citation=(
            "C. Hawthorne et al., Enabling Factorized Piano Music Modeling and Generation with the MAESTRO Dataset, "
            "ICLR 2019"
        ),
        source=Published(
            pack="maestro-v3.0.0",
            origin=Archive(
                url=("https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip"),
                file="maestro-v3.0.0-midi.zip",
                checksum="sha256:70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
            ),
            members=r"(?:.*/)?(\d{4}/[^/]+\.midi)",  # the year of the competition
            files=1_276,
            content="dddcdfd15515a3a4304ff3b9003d6756c68617adcb66cc02f7d7b465654611cb",
        ),
    ),
    "giantmidi": Entry(
        title="GiantMIDI-Piano v1.2: recordings of classical piano music, transcribed by a neural network",
        licence=Licence(
            name="CC-BY-4.0", note="for any use with attribution, after agreeing to a disclaimer", consent=False
        ),
        citation=(
            "Q. Kong, B. Li, J. Chen and Y. Wang, GiantMIDI-Piano: A Large-Scale MIDI Dataset for Classical Piano "
            "Music, TISMIR 2022"
        ),
        source=Published(
            pack="giantmidi-piano",
            origin=ByHand(
                page="https://github.com/bytedance/GiantMIDI-Piano/blob/master/disclaimer.md",
                how="agree to the disclaimer, open the Google Drive folder 1Stz3CAvMoplo79LR5I3onMWRelCugBYS, download "
                "midis_v1.2.zip (192,678,627 bytes)",
                file="midis_v1.2.zip",
                checksum="md5:aaece5750b0cfe30b6a3be5c7bb14f83",
            ),
            members=r"(?:.*/)?([^/]+\.mid)",  # composer, title, video
            files=10_855,
            content=None,
        ),
    ),
    "pop909": Entry(
        title="POP909: piano arrangements of Chinese pop songs, by professionals",
        licence=Licence(
            name="MIT", note="for any use; covers the arrangements, the songs are in copyright", consent=False
        ),
        citation=_POP909,
        source=Published(
            pack="pop909",
            origin=_github("music-x-lab/POP909-Dataset", "d83e6edba6872a704f5d3b8b32f5cb540088dae6"),
            members=r"(?:.*/)?(\d{3}\.mid)",  # the main file of each song: those in versions/ have other names
            files=909,
            content="37faefe96b2818ab9ac0b6b4b18d7d1c1771eb0be481b0b659d58deb24d85ab1",
        ),
    ),
    "pop909-cl": Entry(
        title="POP909-CL: POP909 on a grid, with beats, metres and keys corrected by hand",
        licence=Licence(
            name="MIT", note="for any use; covers the arrangements, the songs are in copyright", consent=False
        ),
        citation=(
            "M. Yao, K. Chen, S. Dubnov and T. Berg-Kirkpatrick, BACHI: Boundary-Aware Symbolic Chord Recognition "
            f"Through Masked Iterative Decoding on Pop and Classical Music, ICASSP 2026; and {_POP909}"
        ),
        source=Published(
            pack="pop909-cl",
            origin=_github("AndyWeasley2004/POP909-CL-Dataset", "be9094392903c471a930519e1c0bacf8b6be5d62"),
            members=r"(?:.*/)?POP909_processed/([^/]+\.mid)",  # the last of four stages
            files=909,
            content="9a816b8456c3c053168a5ade4e3d698ec361293aee062d309422e81b4af9689d",
        ),
    ),
    "piano-midi-de": Entry(
        title="piano-midi.de: classical piano music, sequenced by Bernd Krueger, as of August 2021",
        licence=Licence(
            name="CC-BY-SA-3.0-DE",
            note="for any use with attribution, passed on under the same terms; the copy that is downloaded says: for "
            "study and research only",
            consent=False,
        ),
        citation="Bernd Krueger, www.piano-midi.de",
        source=Published(
            pack="piano-midi-de",
            origin=_github("cheriell/ClassicalPianoMIDI-dataset", "505aef5e7539ac56cdb4cbc72d08a98bfaf7a208"),
            members=r"(?:.*/)?midis/([^/]+/[^/]+\.mid)",  # composer/piece
            files=337,
            content="99d325fc3f323a5c508bfccfcdf933637b59a6b605563f994421c67408607ed1",
        ),
    ),
    "asap-scores": Entry(
        title="the scores of (n)ASAP: classical piano music as notated",
        licence=_NON_COMMERCIAL,
        citation=(
            "F. Foscarin et al., ASAP: a dataset of aligned scores and performances for piano transcription, ISMIR "
            "2020; S. D. Peter et al., Automatic Note-Level Score-to-Performance Alignments in the ASAP Dataset, "
            "TISMIR 2023"
        ),
        source=Published(
            pack="asap-scores",
            origin=_github("CPJKU/asap-dataset", "4097b45757bed854818cf87e77b92323ebf90615"),
            members=r"(?:asap-(?:scores|dataset)[^/]*/)?(.+/midi_score\.mid)",  # not the performances next to it
            files=242,  # of 235 contents
            content="0265d118fc0841f93e5785d9e8552369fbe58db6165666fb4a4ff7adb1bff646",
        ),
    ),
    "js-fakes": Entry(
        title="JS Fake Chorales: four-part chorales in the manner of Bach, composed by an algorithm",
        licence=Licence(name="CC-BY-4.0", note="for any use with attribution", consent=False),
        citation=(
            "O. Peracha, JS Fake Chorales: a Synthetic Dataset of Polyphonic Music with Human Annotation, "
            "arXiv:2107.10388"
        ),
        source=Published(
            pack="js-fakes",
            origin=_github("omarperacha/js-fakes", "68b476d5b265e579d87c74a68f2160f26007fa56"),
            members=r"(?:.*/)?((?:midi|jsf-extended)/\d+\.mid)",  # 500 that listeners judged, and 700 others
            files=1_200,
            content="40fafc6237a71d5236b796769aafab2e93001a1f1a207f48d5ba0c1be942807a",
        ),
    ),
}
