"""Writes the tables of README.md out of what the program knows itself.

    python packaging/docs.py            # after a change of keys.py or models.toml
    python packaging/docs.py --check    # ends with 1 where the README says something else

Each stands between two comments that name it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from corral.models.catalog import Catalog, Family, find_catalogue
from corral.models.fit.fitter import by_preference
from corral.models.fit.memory import DEFAULT_CONTEXT, memory_needed
from corral.models.fit.shape import Shape
from corral.tui import keys

README = Path(__file__).resolve().parent.parent / "README.md"

SIZES = ("llama-2-7b-chat", "llama-2-13b-chat", "llama-2-70b-chat")
KINDS = {"chat": "chat", "base": "texts"}


def quantizations() -> str:
    """Every quantization of Llama 2 Chat: download and memory of each size, and what it costs."""
    catalogue = _catalogue()
    families = [catalogue.families[name] for name in SIZES]
    least: dict[str, float] = {}
    for file in (file for family in families for file in family.files):
        least[file.quant] = min(file.gigabytes, least.get(file.quant, file.gigabytes))
    quants = sorted(least, key=lambda quant: (least[quant], quant))
    rows = [
        [f"`{quant}`", *(_download(family, quant) for family in families), _costs(families, quant)]
        for quant in quants
    ]
    titles = [f"{family.size}: download, memory" for family in families]
    return _table(["", *titles, "perplexity, 7B / 13B / 70B"], rows)


def families() -> str:
    """Every family of the catalogue, with the quantization it is best begun with."""
    catalogue = _catalogue()
    rows = []
    for family in catalogue.families.values():
        best = family.file(family.recommended) or by_preference(family)[0]
        licence = catalogue.licences[family.licence]
        rows.append([
            f"`{family.name}`",
            KINDS[family.kind],
            f"{family.context or DEFAULT_CONTEXT:,}",
            f"`{best.quant}`, {best.gigabytes:.1f} GB",
            licence.title + ("" if licence.download else ", not downloaded"),
        ])  # fmt: skip
    return _table(["name", "for", "tokens", "begin with", "licence"], rows)


PARTS: dict[str, Callable[[], str]] = {
    "keys": keys.markdown_table,
    "quantizations": quantizations,
    "families": families,
}


def written(text: str) -> str:
    """The README with every table as it has to be.

    Raises:
        SystemExit: the place of one is not there.
    """
    for name, make in PARTS.items():
        begin, end = f"<!-- {name}: written by packaging/docs.py -->", f"<!-- end of {name} -->"
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if len(place.findall(text)) != 1:
            sys.exit(f"README.md has to hold “{begin}” and “{end}” once")
        table = f"{begin}\n{make().strip()}\n{end}"
        text = place.sub(lambda _, table=table: table, text)  # type: ignore[misc]
    return text


def _catalogue() -> Catalog:
    return Catalog.load(find_catalogue())


def _download(family: Family, quant: str) -> str:
    """Gigabytes of the file, and of memory with a window of 4,096 tokens on the processor."""
    file = family.file(quant)
    if file is None:
        return "–"
    needed = memory_needed(Shape.of_family(family, file), DEFAULT_CONTEXT).total
    return f"{file.gigabytes:.1f}, {needed / 1e9:.1f} GB"


def _costs(families: list[Family], quant: str) -> str:
    """Percent of perplexity over the unquantized model, where somebody measured it."""
    return " / ".join(_percent(family.quality.get(quant)) for family in families)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %".replace("+0.0", "0.0")


def _table(head: list[str], rows: list[list[str]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(head)} |"
        yield "| --- " * len(head) + "|"
        for row in rows:
            yield f"| {' | '.join(row)} |"

    return "\n".join(lines())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    before = README.read_text(encoding="utf-8")
    after = written(before)
    if parser.parse_args().check:
        sys.exit(before != after)
    README.write_text(after, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
