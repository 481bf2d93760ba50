"""One order's trace as a tree with its waterfall: `python -m sandbox.trace S-1 [--spans out/traces.jsonl] [--all]`.

Reads the JSON lines that the app writes when `Concord__traces` names a file (`make up TRACES=out/traces.jsonl`). An
order is named by its number, or by legal entity and number (GB01/S-1).
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

_BAR_COLUMNS: Final = 40
_PIPED_COLUMNS: Final = 150
_COLOURS: Final = {"server": "cyan", "consumer": "green", "producer": "yellow", "client": "blue"}


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work: times in seconds since the epoch and in milliseconds, `failed` is "" where it went well."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    start: float
    milliseconds: float
    failed: str
    attributes: dict[str, Any]

    @classmethod
    def read(cls, line: dict[str, Any]) -> Self:
        """From one line of the file."""
        return cls(
            line["trace"],
            line["span"],
            line["parent"],
            line["name"],
            line["kind"],
            float(line["start"]),
            float(line["milliseconds"]),
            line["failed"] or "",
            line["attributes"],
        )

    @property
    def end(self) -> float:
        """Seconds since the epoch."""
        return self.start + self.milliseconds / 1000


@dataclass(slots=True)
class Node:
    """A span and what it led to, in order of time."""

    span: Span
    below: list["Node"] = field(default_factory=list)


def read_spans(lines: Iterable[str]) -> list[Span]:
    """The spans among lines of any kind: metrics and a host's own words stand between them."""
    spans = []
    for line in lines:
        if line.startswith('{"trace":'):
            spans.append(Span.read(json.loads(line)))
    return spans


def spans_of_order(spans: Sequence[Span], order: str) -> list[Span]:
    """Every span of every trace that touched the order."""
    legal_entity, _, number = order.rpartition("/")
    traces = {
        span.trace for span in spans if _is_about(str(span.attributes.get("concord.key", "")), legal_entity, number)
    }
    return [span for span in spans if span.trace in traces]


def forest(spans: Sequence[Span]) -> list[Node]:
    """The trees that the spans form, oldest first. One tree means that nothing on the way lost the trace."""
    nodes = {span.id: Node(span) for span in sorted(spans, key=lambda span: span.start)}
    roots: list[Node] = []
    for node in nodes.values():
        above = nodes.get(node.span.parent)
        (roots if above is None else above.below).append(node)
    return roots


def shown(roots: Sequence[Node], *, everything: bool = False) -> Table:
    """The trees beside their waterfall; calls of tables are summed up unless `everything` is wanted."""
    spans = [span for root in roots for span in _flat(root)]
    began, ended = min(span.start for span in spans), max(span.end for span in spans)
    table = Table(box=None, pad_edge=False, title_justify="left", header_style="dim")
    table.title = f"trace {spans[0].trace}: {len(spans)} spans in {(ended - began) * 1000:,.0f} ms"
    for column in ("work", "system", "said", "ms", "when"):
        table.add_column(column, justify="right" if column == "ms" else "left", no_wrap=True)
    for root in roots:
        for guides, span, summed in _rows(root, "", "", everything):
            _add(table, guides, span, summed, began, max(ended - began, 1e-6))
    return table


def _add(table: Table, guides: str, span: Span, summed: int, began: float, whole: float) -> None:
    told = span.attributes
    said = span.failed or str(told.get("concord.ruling") or told.get("http.response.status_code") or "")
    left = int((span.start - began) / whole * _BAR_COLUMNS)
    length = max(1, round(span.milliseconds / 1000 / whole * _BAR_COLUMNS))
    colour = "red" if span.failed else _COLOURS.get(span.kind, "white")
    name = f"{span.name} ×{summed}" if summed > 1 else span.name
    table.add_row(
        Text(guides, style="dim")
        + Text(name, style=f"bold {colour}" if span.kind in {"server", "consumer"} else colour),
        str(told.get("peer.service", "")),
        Text(said, style="red" if span.failed else ""),
        f"{span.milliseconds:,.1f}",
        Text(" " * left + "█" * min(length, _BAR_COLUMNS - min(left, _BAR_COLUMNS - 1)), style=colour),
    )


def _rows(node: Node, guide: str, below: str, everything: bool) -> Iterable[tuple[str, Span, int]]:
    yield guide, node.span, 1
    children = node.below if everything else _summed(node.below)
    counted = [child if isinstance(child, tuple) else (child, 1) for child in children]
    for index, (child, times) in enumerate(counted):
        last = index == len(counted) - 1
        rows = _rows(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), everything)
        for at, (guides, span, summed) in enumerate(rows):
            yield guides, span, times if at == 0 else summed


def _summed(children: Sequence[Node]) -> list[tuple[Node, int]]:
    """Table calls that follow one another as one line, as long as all of them together."""
    told: list[tuple[Node, int]] = []
    for child in children:
        last = told[-1] if told else None
        if last and not child.below and _is_table(child.span) and _is_table(last[0].span):
            span = last[0].span
            both = Span(
                span.trace, span.id, span.parent, "tables", span.kind, span.start,
                span.milliseconds + child.span.milliseconds, span.failed or child.span.failed,
                {"peer.service": "tables"},
            )  # fmt: skip
            told[-1] = (Node(both), last[1] + 1)
        else:
            told.append((child, 1))
    return told


def _is_table(span: Span) -> bool:
    return span.attributes.get("peer.service") == "tables"


def _is_about(key: str, legal_entity: str, number: str) -> bool:
    entity, _, rest = key.partition("|")
    owner, _, name = rest.partition("|")
    return entity == "order" and name == number and (not legal_entity or owner == legal_entity)


def _flat(node: Node) -> Iterable[Span]:
    yield node.span
    for child in node.below:
        yield from _flat(child)


def main() -> int:
    """Read the command line and print; 1 where the order has no trace."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.trace", description=__doc__)
    parser.add_argument("order", help="order number, or legal entity and number: GB01/S-1")
    parser.add_argument("--spans", type=Path, default=Path("out/traces.jsonl"))
    parser.add_argument("--all", action="store_true", help="every call of the tables too")
    given = parser.parse_args()
    if not given.spans.is_file():
        print(f"there is no {given.spans}; start the stack with make up TRACES={given.spans}", file=sys.stderr)
        return 1
    with given.spans.open(encoding="utf-8") as lines:
        spans = spans_of_order(read_spans(lines), given.order)
    if not spans:
        print(f"no trace of order {given.order} in {given.spans}", file=sys.stderr)
        return 1
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    for trace in dict.fromkeys(span.trace for span in spans):
        console.print(shown(forest([span for span in spans if span.trace == trace]), everything=given.all))
    return 0


if __name__ == "__main__":
    sys.exit(main())
