"""The commands of `etude corpus`: what there is, getting it, checking it, describing it."""

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
from replication.util.text import printable
from replication.windows.data_card import facts
from replication.windows.prepared import prepare

if TYPE_CHECKING:
    from replication.corpora.corpus import Corpus

Name = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|PATH", help="a corpus, or a folder or archive of MIDI files")
]

SHOWN = 20  # files of a kind that are named


def list_() -> None:
    """Show the corpora: how many files each has, its licence, where it is, and what it is."""
    found = [(corpus, *_whereabouts(corpus)) for corpus in CORPORA.values()]
    print(f"{'NAME':19} {'FILES':>7}  {'LICENCE':16} WHERE")
    for corpus, count, where in found:
        print(f"{corpus.name:19} {count:>7}  {corpus.licence.name:16} {where}\n  {corpus.title}")


def _whereabouts(corpus: Corpus) -> tuple[str, str]:
    """Return how many files there should be, and where they are."""
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
    """Find a corpus on this machine or else download it, and say whether it is whole."""
    corpus = find_corpus(name)
    source = located(corpus, accepted=accept_licence).source
    if isinstance(source, Folder):
        print(source.path)
    print(_verdict(corpus, _verify(corpus)))


def check(name: Name) -> int:
    """Compare the files of a corpus with those that were published, and name those that differ."""
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
    """Compare files with what is published, or those of a folder with its own manifest; None if there is neither."""
    match corpus.source:
        case Published() as source:
            path = find(source)
            if path is None:
                raise UserError(
                    f"{corpus.name} is not on this machine: get it with `etude corpus fetch {corpus.name}`."
                )
            return verify(source, path)
        case Folder(path=path) if _has_manifest(path):
            nowhere = Archive(url="", file="", checksum=None)
            found = verify(Published(pack=path.name, origin=nowhere, members="(.+)", files=0, content=None), path)
            return replace(found, ok=not (found.missing or found.extra or found.damaged))  # whatever their number
        case _:
            return None


def _has_manifest(path: Path) -> bool:
    """Return whether there is a manifest where `verify` looks for one, at the top of a pack."""
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
        Path | None, tyro.conf.arg(metavar="PATH", help="where to; reports/output/corpora/NAME if not given")
    ] = None,
    *,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> None:
    """Read a corpus and cut it into windows; write a data card with an account of every file, and figures."""
    from reports.sections.data_card import render, summary

    if encoding not in ENCODINGS:
        raise UserError(f"unknown encoding {encoding!r}; choose one of {', '.join(ENCODINGS)}")
    cutting = find_scale(scale).cutting
    corpus = located(find_corpus(name), accepted=accept_licence)
    cache = folder_at(root) / "runs" / "cache"
    loaded = load(corpus, cache)
    dataset = prepare(corpus, encoding_on(encoding, corpus.reading.grid), cutting, cache=cache)
    output = folder_at(output or root / "reports" / "output" / "corpora" / corpus.name)
    found = facts(corpus, loaded, dataset, encoding=encoding, cutting=cutting)
    write_json(output / "card.json", found)
    print(f"{summary(found)}\nCard      {render(found, output)[0]}")


# A value of this type is what one of the commands returns.
Command = (
    Annotated[Any, tyro.conf.subcommand("list", constructor=list_)]
    | Annotated[Any, tyro.conf.subcommand("fetch", constructor=fetch)]
    | Annotated[Any, tyro.conf.subcommand("verify", constructor=check)]
    | Annotated[Any, tyro.conf.subcommand("describe", constructor=describe)]
)


def corpus(done: Annotated[Command, tyro.conf.arg(name="")]) -> int | None:
    """Show, get, check or describe the corpora."""
    code: int | None = done
    return code
