"""Bar charts as inline SVG: few, plain, with their figures beside the bars."""

from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup, escape

_COLOURS: Final = ("#2a6fbb", "#d98b2b", "#8a5fb0", "#5b9a5b", "#c0504d", "#7f8c99", "#b8a13a", "#3f3f46")
_WIDTH: Final = 640
_ROW: Final = 22


def bars(values: Sequence[tuple[str, float]], title: str) -> Markup:
    """Horizontal bars, one for each label."""
    most = max((value for _, value in values), default=0) or 1
    rows = [
        Markup(
            '<text x="110" y="{y}" text-anchor="end">{label}</text>'
            '<rect x="118" y="{top}" width="{width:.1f}" height="14" fill="{colour}"/>'
            '<text x="{after:.1f}" y="{y}">{value:g}</text>'
        ).format(
            y=index * _ROW + 16, top=index * _ROW + 4, label=label, width=value / most * (_WIDTH - 190),
            colour=_COLOURS[0], after=124 + value / most * (_WIDTH - 190), value=value,
        )
        for index, (label, value) in enumerate(values)
    ]  # fmt: skip
    return _picture(title, rows, len(values), [])


def stacked(values: Mapping[str, Mapping[str, int]], unit: str) -> Markup:
    """One bar for each label, in parts with a legend."""
    parts = sorted({part for one in values.values() for part in one})
    colour = {part: _COLOURS[index % len(_COLOURS)] for index, part in enumerate(parts)}
    most = max((sum(one.values()) for one in values.values()), default=0) or 1
    rows = []
    for index, (label, one) in enumerate(values.items()):
        at = 118.0
        rows.append(Markup('<text x="110" y="{}" text-anchor="end">{}</text>').format(index * _ROW + 16, label))
        for part in parts:
            width = one.get(part, 0) / most * (_WIDTH - 190)
            if width:
                rows.append(
                    Markup(
                        '<rect x="{:.1f}" y="{}" width="{:.1f}" height="14" fill="{}"><title>{}</title></rect>'
                    ).format(at, index * _ROW + 4, width, colour[part], f"{label}: {one[part]} {part}")
                )
                at += width
        rows.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(at + 6, index * _ROW + 16, sum(one.values())))
    return _picture(unit, rows, len(values), [(part, colour[part]) for part in parts])


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
