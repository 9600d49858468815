"""Compare two runs of a benchmark: `nox -s bench -- compare A.json B.json`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - tyro reads the annotations
from typing import Annotated

import tyro

from benchmarks.table import command, describe_machine, number, read_run
from replication.util.errors import UserError


def ratios(first: Path, second: Path) -> dict[str, tuple[float, float, str, float]]:
    """Return first value, second value, unit, and ratio of second to first, for each row that both runs have.

    Raises:
        UserError: If a file is not the output of a benchmark, the settings differ, or the runs have no common row.
    """
    one, other = read_run(first), read_run(second)
    for key in sorted({*one, *other} - {"rows", "machine"}):
        if one.get(key) != other.get(key):
            raise UserError(
                f"{first} and {second} cannot be compared: {key} is {one.get(key)} in the first and {other.get(key)} in"
                " the second"
            )
    before, after = one["rows"], other["rows"]
    result = {}
    for name, row in before.items():
        if name in after and after[name]["unit"] == row["unit"]:
            old, new = float(row["value"] or 0), float(after[name]["value"] or 0)
            result[name] = old, new, str(row["unit"]), new / old if old else float("nan")
    if not result:
        raise UserError(
            f"{first} and {second} have no row in common: compare runs of the same benchmark at the same scale"
        )
    return result


def compare(
    first: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A.json", help="output of a benchmark")],
    second: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B.json", help="another; the ratio is B/A")],
) -> None:
    """Print the rows that two runs have in common, with their ratio."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("Row")
    for title in ("A", "B", "", "B/A"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name, (old, new, unit, ratio) in ratios(first, second).items():
        table.add_row(name, number(old), number(new), unit, f"{ratio:.2f}")
    console = Console(highlight=False, markup=False, width=120)
    console.print(table)
    for letter, path in (("A", first), ("B", second)):
        console.print(f"{letter}: {describe_machine(read_run(path)['machine'])}")


if __name__ == "__main__":
    command(compare)
