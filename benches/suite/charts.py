"""Charts as self-contained SVG, readable on dark and light pages."""

import math
import statistics
from html import escape

from .results import number

STYLE = """<style>
.page{fill:#fff}.text{fill:#1f2933}.faint{fill:#616e7c}.grid{stroke:#d9dee4}.whisker{stroke:#1f2933}
.c0{fill:#0f766e;stroke:#0f766e}.c1{fill:#9aa5b1;stroke:#9aa5b1}.c2{fill:#b45309;stroke:#b45309}
.c3{fill:#6d28d9;stroke:#6d28d9}.c4{fill:#be123c;stroke:#be123c}
@media (prefers-color-scheme:dark){.page{fill:#12181f}.text{fill:#e4e7eb}.faint{fill:#9aa5b1}.grid{stroke:#323f4b}
.whisker{stroke:#e4e7eb}.c0{fill:#2dd4bf;stroke:#2dd4bf}.c1{fill:#7b8794;stroke:#7b8794}
.c2{fill:#fbbf24;stroke:#fbbf24}.c3{fill:#a78bfa;stroke:#a78bfa}.c4{fill:#fb7185;stroke:#fb7185}}
</style>"""
WIDTH = 860
LEFT, RIGHT = 70, 40
BAR, GAP = 18, 34


def start(height, title):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="13"><title>{escape(title)}</title>{STYLE}'
            f'<rect class="page" width="100%" height="100%" rx="8"/>', text(20, 28, title, size=16, weight=600)]


def text(x, y, words, kind="text", anchor="start", size=13, weight=400):
    return (f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def bars(title, rows):
    """A pair of bars for each row. Each pair has its own scale, because units differ. The thin line is min to max."""
    pairs = [[("flash-sale", row.ours, "c0")] + ([(row.rival_name, row.rival, "c1")] if row.rival else [])
             for row in rows]
    height = 50 + sum(26 + len(pair) * (BAR + 6) + GAP - 20 for pair in pairs)
    svg, y = start(height, title), 56
    begin, room = 230, WIDTH - 230 - 190
    for row, pair in zip(rows, pairs):
        aim = f"   target {row.target}{' of it' if row.rival else ''}" if row.target else ""
        svg += [text(20, y + 6, f"{row.what}, {row.unit}", weight=600),
                text(WIDTH - 20, y + 6, f"{'×' + number(row.ratio) if row.ratio else ''}{aim}", "faint", "end")]
        y += 18
        longest = max(max(values) for _, values, _ in pair) or 1
        for name, values, colour in pair:
            middle = statistics.median(values)
            length = max(1, middle / longest * room)
            svg += [text(begin - 8, y + BAR - 5, name, "faint", "end"),
                    f'<rect class="{colour}" x="{begin}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>']
            low, high = (begin + limit / longest * room for limit in (min(values), max(values)))
            if high - low > 1:
                svg.append(f'<path class="whisker" d="M{low:.1f} {y + BAR / 2}H{high:.1f}" stroke-width="1.5"/>')
            svg.append(text(max(begin + length, high) + 8, y + BAR - 5, number(middle)))
            y += BAR + 6
        y += GAP - 12
    return "\n".join(svg + ["</svg>\n"])


def ticks(low, high, logarithmic):
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0 ** power for power in range(first, last + 1)]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    return [low + step * count for count in range(math.ceil((high - low) / step) + 1)]


def curve(chart):
    """Lines over a common axis."""
    height, top, bottom = 420, 80, 60
    points = [point for line in chart.lines for point in line.points if point[1] is not None]
    svg = start(height, chart.title)
    if not points:
        return "\n".join(svg + ["</svg>\n"])
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low = max(min(ys), 0.01) if chart.logarithmic else 0.0
    levels = ticks(low, max(max(ys), low * 1.1, 1e-9), chart.logarithmic)
    across = ticks(0.0, max(max(xs), 1e-9), False)
    scale = math.log10 if chart.logarithmic else float
    reach = scale(levels[-1]) - scale(levels[0]) or 1

    def place(x, y):
        share = (scale(max(y, levels[0])) - scale(levels[0])) / reach
        return (LEFT + x / across[-1] * (WIDTH - LEFT - RIGHT), height - bottom - share * (height - top - bottom))

    for level in levels:
        _, y = place(0, level)
        svg += [f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>',
                text(LEFT - 8, y + 4, number(level), "faint", "end")]
    for x in across:
        svg.append(text(place(x, levels[0])[0], height - bottom + 18, number(x), "faint", "middle"))
    svg += [text(LEFT, top - 12, chart.y_label, "faint"), text(WIDTH - RIGHT, height - 18, chart.x_label, "faint", "end")]
    begin = WIDTH - RIGHT
    for index, line in reversed(list(enumerate(chart.lines))):
        known = [place(x, y) for x, y in line.points if y is not None]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in known) if known else ""
        svg.append(f'<path class="c{index % 5}" d="{path}" style="fill:none" stroke-width="2.5" stroke-linejoin="round"/>')
        svg += [f'<circle class="c{index % 5}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in known]
        begin -= 8 * len(line.name) + 30
        svg += [f'<circle class="c{index % 5}" cx="{begin}" cy="50" r="5"/>', text(begin + 10, 54, line.name)]
    return "\n".join(svg + ["</svg>\n"])
