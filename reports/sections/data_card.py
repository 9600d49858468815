"""The data card of a corpus: `etude corpus describe NAME`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - tyro reads the annotations
from typing import TYPE_CHECKING, Any

from replication.util.files import atomic
from replication.util.text import printable
from replication.windows.duplicates import RUN_LENGTH as RUN
from replication.windows.splits import SPLITS
from reports.format.facts import between
from reports.format.table import Cell, Table, markdown, number, plain
from reports.sections.data_card_figures import FIGURES, STAGES, account, step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.format.picture import Picture
    from reports.sections.data_card_figures import Facts

NAMED = 20  # dropped files that the card names; card.json has all
MEMBERS = 5  # pieces of a family that it names


def card(facts: Facts, pictures: Mapping[str, Picture]) -> str:
    """Return the card as Markdown: what the corpus is, where every file went, what is in it, what the splits share.

    Args:
        facts: what `replication.windows.data_card.facts` returns.
        pictures: what `figures` makes of them, to be found in a folder figures/ beside the card.
    """
    blocks = [
        f"# {_escaped(facts['name'])}",
        _escaped(facts["title"]),
        "\n".join(f"- **{title}:** {_escaped(text)}" for title, text in about(facts).items()),
        *(table(facts).markdown().rstrip("\n") for table in TABLES),
        *(_figure(name, picture) for name, picture in pictures.items()),
        *(f"## {title}\n\n{_list(lines)}" for title, lines in lists(facts).items()),
    ]
    return "\n\n".join(blocks) + "\n"


def figures(facts: Facts) -> dict[str, Picture]:
    """Return the figures by the names of their files."""
    return {name: draw(facts) for name, draw in FIGURES.items()}


def summary(facts: Facts) -> str:
    """Return the card in a few lines for a terminal."""
    parts = " + ".join(f"{count:,} {text}" for text, count in account(facts).items())
    sizes = ", ".join(f"{facts['splits'][name]['windows']:,} {name}" for name in SPLITS)
    copies = ", ".join(f"{_percent(facts['leaks'][stage]['onsets'])} {text}" for stage, text in STAGES.items())
    lines = about(facts) | {
        "Files": f"{facts['counts']['files']:,} = {parts}",
        "Splits": f"{sizes} windows; {facts['counts']['copied']:,} copies left out of training",
        "Shared": f"runs of {RUN} onsets of the test split that are in training, split {copies}",
    }
    return "\n".join(printable(line) for line in (facts["title"], *(f"{key:9} {text}" for key, text in lines.items())))


def files(facts: Facts) -> Table:
    """Return where every file of the corpus went."""
    total = facts["counts"]["files"]
    rows = account(facts) | {"all": total}
    return Table.of(
        "files",
        rows=[
            {
                "Files": plain("what", text),
                "Number": Cell(f"{count:,}", {"files": count}),
                "Share": Cell(_percent(count / total), {"share": count / total}),
            }
            for text, count in rows.items()
        ],
        caption=(
            "Where every file went. A duplicate is equal in all but key, loudness and starting time to a piece that was"
            " kept."
        ),
    )


def splits(facts: Facts) -> Table:
    """Return the sizes of the splits."""
    copied = facts["counts"]["copied"]
    return Table.of(
        "splits",
        rows=[
            {
                "Split": plain("split", name),
                "Windows": Cell(f"{part['windows']:,}", {"windows": part["windows"]}),
                "Families": Cell(f"{part['songs']:,}", {"families": part["songs"]}),
            }
            for name, part in ((name, facts["splits"][name]) for name in SPLITS)
        ],
        caption=(
            "The splits. Pieces that share much of their melody or of their notes are one family, and no family is in"
            f" two splits; {copied:,} windows are left out of training, since they hold {RUN} onsets that another split"
            " has too."
        ),
    )


def shared(facts: Facts) -> Table:
    """Return what the test split and training have in common, before and after families and copies are heeded."""
    return Table.of(
        "shared",
        rows=[
            {
                "Split": plain("stage", text),
                f"Runs of {RUN} onsets": Cell(_percent(leak["onsets"]), {"onsets": leak["onsets"]}),
                f"Runs of {RUN} notes": Cell(_percent(leak["notes"]), {"notes": leak["notes"]}),
                "Test windows": Cell(f"{leak['windows']:,}", {"windows": leak["windows"]}),
            }
            for leak, text in ((facts["leaks"][stage], text) for stage, text in STAGES.items())
        ],
        caption=(
            f"What the test split has that training has too, in any key: of its runs of {RUN} onsets with all their"
            f" notes, of its runs of {RUN} notes, and the number of its windows that hold such a run of onsets. In"
            f" chorales {RUN} notes are three chords, which many pieces share."
        ),
    )


TABLES = (files, splits, shared)


def lists(facts: Facts) -> dict[str, list[str]]:
    """Return what the card names, by title: the largest families and the first of the dropped files."""
    families = [f"{len(ids):,} pieces: {'; '.join(_first(ids, MEMBERS))}" for ids in facts["families"]["largest"]]
    dropped = [f"{name}: {reason}" for name, reason in facts["dropped"]["files"]]
    return {"Largest families": families, "Dropped files": _first(dropped, NAMED)}


def about(facts: Facts) -> dict[str, str]:
    """Return what the corpus is, by title."""
    licence, cutting, read = facts["licence"], facts["cutting"], facts["read"]
    policy = "the first of each piece" if cutting["first_only"] else "all of each piece"
    keys = {"AsWritten": "in the keys as written", "OneKey": "in one key", "EveryKey": "in several keys for training"}
    hours = "" if read["hours"] is None else f", {number(read['hours'], 1)} hours"
    return {
        "Licence": f"{licence['name']}: {licence['note']}",
        "Citation": facts["citation"],
        "Read": _reading(facts["reading"]),
        "Windows": (
            f"{cutting['length']} tokens in encoding {cutting['encoding']}, {policy}, {keys[cutting['keys']['type']]}"
        ),
        "Size": f"{read['notes']:,} notes in {read['pieces']:,} pieces{hours}",
    }


def _reading(reading: Mapping[str, Any]) -> str:
    """Return how files become pieces, in words."""
    tracks = {
        "Merged": "all tracks as one",
        "First": "the first track that has notes",
        "Named": f"the tracks named {between(reading['tracks'].get('names', ['']))}",
    }
    first, last = reading["programs"]
    words = [
        tracks[reading["tracks"]["type"]],
        "with drums" if reading["drums"] else "without drums",
        "pedal applied" if reading["pedal"] else "pedal ignored",
        f"in {step(reading['grid'])}",
    ]
    if (first, last) != (0, 127):
        words.append(f"programs {first} to {last} only")
    if reading["shortest"] > 1:
        words.append(f"at least {reading['shortest']} notes")
    if reading["aligned"]:
        words.append(f"at least {100 * reading['aligned']:g} % of onsets on the grid of beats")
    return ", ".join(words)


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"


def _figure(name: str, picture: Picture) -> str:
    """Return a figure by a relative link, with its caption."""
    title = markdown(name.replace("_", " "))
    return f"![{title}](figures/{name}.svg)\n\n**Figure: {title}.** {_escaped(picture.caption)}"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines) or "None."


def _first(texts: Sequence[str], count: int) -> list[str]:
    """Return so many texts, and how many more there are."""
    more = [f"and {len(texts) - count:,} more"] if len(texts) > count else []
    return [*texts[:count], *more]


def _escaped(text: str) -> str:
    return markdown(printable(text))


def render(facts: Facts, output: Path) -> list[Path]:
    """Write card.md and figures/ below `output`; equal facts give equal bytes. Return the files, card.md first."""
    pictures, path = figures(facts), output / "card.md"
    with atomic(path) as draft:
        draft.write_text(card(facts, pictures), encoding="utf-8", newline="\n")
    images = {output / "figures" / f"{name}{end}": one for name, one in pictures.items() for end in (".svg", ".png")}
    for image, picture in images.items():
        picture.save(image)
    return [path, *images]
