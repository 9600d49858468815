"""`etude corpus`: list, download, verify and describe corpora."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from etude.cli.options import Accepted, Root, Scale  # noqa: TC001 - tyro reads the annotations
from etude.runner.plan import find_corpus, find_scale
from replication.corpora.archives import files
from replication.corpora.catalogue import Archive, ByHand, Published
from replication.corpora.corpus import CORPORA, located
from replication.corpora.download import find
from replication.corpora.reading import load
from replication.corpora.sources import Folder, Synthetic
from replication.corpora.verification import MANIFEST, Verification, verify
from replication.tokens.encodings import ENCODINGS, encoding_on
from replication.util.errors import UserError
from replication.util.files import write_json
from replication.util.paths import folder_at
from replication.util.program import command
from replication.util.text import printable
from replication.windows.data_card import facts
from replication.windows.prepared import prepare

if TYPE_CHECKING:
    from replication.corpora.corpus import Corpus

Name = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|PATH", help="a corpus, or a folder or archive of MIDI files")
]

SHOWN = 20  # files that are named per kind of difference


def list_() -> None:
    """List the corpora with their number of files, licence, place and title."""
    found = [(corpus, *_whereabouts(corpus)) for corpus in CORPORA.values()]
    print(f"{'NAME':19} {'FILES':>7}  {'LICENCE':16} WHERE")
    for corpus, count, where in found:
        print(f"{corpus.name:19} {count:>7}  {corpus.licence.name:16} {where}\n  {corpus.title}")


def _whereabouts(corpus: Corpus) -> tuple[str, str]:
    """Return the published number of files of a corpus, and where it is."""
    match corpus.source:
        case Published() as source:
            count = f"{source.files:,}"
            missing = "by hand" if isinstance(source.origin, ByHand) else f"to download, {count} files"
            return count, str(find(source) or missing)
        case Synthetic(count=pieces):
            return f"{pieces:,}", "here"
        case _:
            return "-", "here"


def fetch(name: Name, *, accept_licence: Accepted = ()) -> None:
    """Find a corpus on this machine or download it, then compare its files with the published ones."""
    corpus = find_corpus(name)
    source = located(corpus, accepted=accept_licence).source
    if isinstance(source, Folder):
        print(source.path)
    print(_verdict(corpus, _verify(corpus)))


def check(name: Name) -> int:
    """Compare the files of a corpus with the published ones and name those that differ."""
    corpus = find_corpus(name)
    found = _verify(corpus)
    print(_verdict(corpus, found))
    if found is None:
        return 0
    print(f"content: {found.content}")
    if isinstance(corpus.source, Published):
        print(f"published: {corpus.source.content or 'not known'}")
    for kind, names in {"missing": found.missing, "extra": found.extra, "damaged": found.damaged}.items():
        print(f"{kind}: {len(names):,}")
        for file in names[:SHOWN]:
            print(f"  {printable(file)}")
        if len(names) > SHOWN:
            print(f"  and {len(names) - SHOWN:,} more")
    return 0 if found.ok else 1


def _verify(corpus: Corpus) -> Verification | None:
    """Compare files with the published ones, or a folder's with its own manifest; return None if there is neither."""
    match corpus.source:
        case Published() as source:
            path = find(source)
            if path is None:
                raise UserError(
                    f"{corpus.name} is not on this machine: get it with `{command('corpus', 'fetch', corpus.name)}`."
                )
            return verify(source, path)
        case Folder(path=path) if _has_manifest(path):
            nowhere = Archive(url="", file="", checksum=None)
            found = verify(Published(pack=path.name, origin=nowhere, members="(.+)", files=0, content=None), path)
            return replace(found, ok=not (found.missing or found.extra or found.damaged))  # whatever their number
        case _:
            return None


def _has_manifest(path: Path) -> bool:
    """Return whether a folder has a manifest at its top, where `verify` looks for one."""
    return any(True for _ in files(path, lambda name: name.split("/")[-1] == MANIFEST and name.count("/") <= 1))


def _verdict(corpus: Corpus, found: Verification | None) -> str:
    if found is None:
        return f"There is no manifest to verify {printable(corpus.name)} against."
    source, total = corpus.source, f"{found.files:,} files"
    if found.ok:
        return f"{total}, all as {'published' if isinstance(source, Published) else 'listed'}"
    expected = f", {source.files:,} are published" if isinstance(source, Published) else ""
    kinds = {"missing": found.missing, "extra": found.extra, "damaged": found.damaged}
    differing = ", ".join(f"{len(names):,} {kind}" for kind, names in kinds.items() if names)
    return f"{total}{expected}; {differing or 'no manifest names what differs'}"


def describe(
    name: Name,
    scale: Scale = "cpu",
    encoding: Annotated[
        str, tyro.conf.arg(metavar="|".join(ENCODINGS), help="how notes are written as tokens")
    ] = "paper",
    output: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="PATH", help="folder to write to", help_behavior_hint="(default: reports/output/corpora/NAME)"
        ),
    ] = None,
    *,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> None:
    """Read a corpus, cut it into windows, and write a data card with figures that accounts for every file."""
    from reports.sections.data_card import render, summary

    if encoding not in ENCODINGS:
        raise UserError(f"unknown encoding {encoding!r}; choose one of {', '.join(ENCODINGS)}")
    cutting = find_scale(scale).cutting
    corpus = located(find_corpus(name), accepted=accept_licence)
    cache = folder_at(root) / "runs" / "cache"
    loaded = load(corpus, cache)
    dataset = prepare(corpus, encoding_on(encoding, corpus.reading.grid), cutting, cache=cache)
    output = folder_at(output or root / "reports" / "output" / "corpora" / corpus.name)
    found = facts(corpus, loaded, dataset, encoding=encoding, cutting=cutting, cache=cache)
    write_json(output / "card.json", found)
    print(f"{summary(found)}\nCard      {render(found, output)[0]}")


# tyro runs the chosen command; a value of this type is what that command returned.
Command = (
    Annotated[Any, tyro.conf.subcommand("list", constructor=list_)]
    | Annotated[Any, tyro.conf.subcommand("fetch", constructor=fetch)]
    | Annotated[Any, tyro.conf.subcommand("verify", constructor=check)]
    | Annotated[Any, tyro.conf.subcommand("describe", constructor=describe)]
)


def corpus(done: Annotated[Command, tyro.conf.arg(name="")]) -> int | None:
    """List, download, verify or describe corpora."""
    code: int | None = done
    return code
