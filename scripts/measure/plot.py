"""Draws the cost against the number of clients: an SVG with logarithmic scales for light and dark backgrounds."""
import math
from html import escape

WIDTH, HEIGHT = 960, 440
LEFT, TOP, BOTTOM = 62, 44, 46  # margins of a panel
SPLIT = 585  # x of the left edge of the second panel
LABEL_HEIGHT = 15  # the minimum distance between two labels
WANPOOL_COLOURS, OTHER_COLOURS = ["#1f9e77", "#2f7fd0", "#8a63c9", "#d1495b"], ["#7d8790", "#c07a2c", "#8d8f3a"]

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; font-size: 13px }
.grid { stroke: #8884; stroke-width: 1 }
.wanpool, .other { fill: none; stroke-width: 2; stroke-linejoin: round }
.other { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }
"""


def draw(path, commands, packets):
    """Both arguments are {name of the curve: {clients: seconds}}. The names of wanpool's curves begin with "wanpool"."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
             f'height="{HEIGHT}" role="img" aria-label="Cost against the number of clients">',
             f"<style>{STYLE}</style>"]
    parts += panel(0, SPLIT, 185, "A command, with so many clients", commands)
    parts += panel(SPLIT, WIDTH, 110, "A packet of a known flow, CPU time", packets)
    with open(path, "w") as file:
        file.write("\n".join([*parts, "</svg>", ""]))


def panel(panel_left, panel_right, margin, title, curves):
    """A panel between two x coordinates. `margin` is the space on the right for the labels of the curves."""
    left, right = panel_left + LEFT, panel_right - margin
    points = [point for curve in curves.values() for point in curve.items()]
    x = scale([clients for clients, _ in points], left, right)
    y = scale([seconds for _, seconds in points], HEIGHT - BOTTOM, TOP)
    parts = [text(left, TOP - 18, title, "title"), *grid(left, right, x, y, points)]
    ends = {name: (x(max(curve)), y(curve[max(curve)])) for name, curve in curves.items()}
    heights = label_heights(ends)
    colours = {True: iter(WANPOOL_COLOURS), False: iter(OTHER_COLOURS)}
    for name, curve in curves.items():
        is_wanpool = name.startswith("wanpool")
        colour = next(colours[is_wanpool])
        line = " ".join(f"{x(clients):.1f},{y(curve[clients]):.1f}" for clients in sorted(curve))
        at = ends[name]
        parts.append(f'<polyline class="{"wanpool" if is_wanpool else "other"}" stroke="{colour}" points="{line}"/>')
        parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3" fill="{colour}"/>')
        parts.append(text(at[0] + 9, heights[name] + 4, name, style=f"fill:{colour}"))
    return parts


def grid(left, right, x, y, points):
    """The grid: a line for each power of ten of the time and for every second number of clients."""
    parts = []
    for count in sorted({clients for clients, _ in points})[::2]:
        parts.append(f'<line class="grid" x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(text(x(count), HEIGHT - BOTTOM + 18, f"{count:,}", anchor="middle"))
    parts.append(text((left + right) / 2, HEIGHT - 8, "clients", anchor="middle"))
    seconds = [seconds for _, seconds in points]
    for power in range(math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds))) + 1):
        height = y(10.0 ** power)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(text(left - 6, height + 4, time_label(power), anchor="end"))
    return parts


def scale(values, low, high):
    """A function from a value to a coordinate. A scale of seconds covers whole powers of ten."""
    first, last = math.log10(min(values)), math.log10(max(values))
    if min(values) < 1:
        first, last = math.floor(first), math.ceil(last)
    return lambda value: low + (math.log10(value) - first) / (last - first) * (high - low)


def label_heights(ends):
    """The y coordinates of the labels: at the ends of their curves, moved up where labels would overlap."""
    heights, lowest = {}, {}
    for name in sorted(ends, key=lambda name: ends[name][1], reverse=True):
        x, y = ends[name]
        lowest[x] = heights[name] = min(y, lowest.get(x, HEIGHT) - LABEL_HEIGHT)
    return heights


def time_label(power):
    unit = power // 3
    return f"{10 ** (power - 3 * unit)} {({0: 's', -1: 'ms', -2: 'µs', -3: 'ns'}[unit])}"


def text(x, y, content, kind="", anchor="start", style=""):
    more = "".join(f' {key}="{value}"' for key, value in [("class", kind), ("style", style)] if value)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(content)}</text>'
