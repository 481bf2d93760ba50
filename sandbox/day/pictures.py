"""Bar charts as inline SVG: few, plain, with their figures beside the bars."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from markupsafe import Markup, escape

_PLAIN: Final = "#2a6fbb"
_WIDTH: Final = 640
_ROW: Final = 22
_LABELS: Final = 150
_FIGURES: Final = 60  # room for the figure behind the longest bar


def bars(values: Sequence[tuple[str, int]], title: str) -> Markup:
    """Horizontal bars, one for each label, from zero and to one scale."""
    scale = _scale(value for _, value in values)
    rows = [
        Markup(
            '<text x="{at}" y="{y}" text-anchor="end">{label}</text>'
            '<rect x="{left}" y="{top}" width="{width:.1f}" height="14" fill="{colour}"/>'
            '<text x="{after:.1f}" y="{y}">{value}</text>'
        ).format(
            at=_LABELS - 8, y=index * _ROW + 16, label=label, left=_LABELS, top=index * _ROW + 4,
            width=value * scale, colour=_PLAIN, after=_LABELS + 6 + value * scale, value=f"{value:,}",
        )
        for index, (label, value) in enumerate(values)
    ]  # fmt: skip
    return _picture(title, rows, len(values), [])


def stacked(values: Mapping[str, Mapping[str, int]], colours: Mapping[str, str], title: str) -> Markup:
    """One bar for each label, in parts; parts and legend keep the order of `colours`, without those that never come."""
    occurring = [part for part in colours if any(one.get(part) for one in values.values())]
    scale = _scale(sum(one.values()) for one in values.values())
    rows = []
    for index, (label, one) in enumerate(values.items()):
        at, y = float(_LABELS), index * _ROW + 16
        rows.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_LABELS - 8, y, label))
        for part in occurring:
            width = one.get(part, 0) * scale
            if width:
                rows.append(
                    Markup(
                        '<rect x="{:.1f}" y="{}" width="{:.1f}" height="14" fill="{}"><title>{}</title></rect>'
                    ).format(at, index * _ROW + 4, width, colours[part], f"{label}: {one[part]:,} {part}")
                )
                at += width
        rows.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(at + 6, y, f"{sum(one.values()):,}"))
    return _picture(title, rows, len(values), [(part, colours[part]) for part in occurring])


def _scale(values: Iterable[int]) -> float:
    """Pixels for each one."""
    return (_WIDTH - _LABELS - _FIGURES) / (max(values, default=0) or 1)


def _picture(title: str, rows: Sequence[Markup], count: int, legend: Sequence[tuple[str, str]]) -> Markup:
    height = count * _ROW + 6
    keys = Markup("").join(
        Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(colour, part)
        for part, colour in legend
    )
    return Markup(
        '<figure><figcaption>{}</figcaption><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        "<div>{}</div></figure>"
    ).format(title, _WIDTH, height, escape(title), Markup("").join(rows), keys)
