"""Formats the results as a Markdown table or as flat objects for JSON."""

HEADER = ["what", "wanpool (median, spread)", "baseline (median)", "ratio", "limit", "goal"]
UNITS = {"s": [(1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")], "B": [(1e6, "MB")]}


def markdown_table(rows, results, machine):
    lines = [HEADER, ["---"] * len(HEADER)] + [cells(rows[name], result) for name, result in results.items()]
    notes = [parts_line(rows[name], result) for name, result in results.items() if result.parts]
    footer = [f"{machine}. Spread: the quartiles of all runs; for the ratio, the quartiles of the rounds."]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *"\n\n".join(footer + notes).splitlines()])


def parts_line(row, result):
    unit = "×" if result.ratio else row.unit
    parts = [f"{name} {format_value(value, unit)}" for name, value in result.parts.items()]
    return f"{row.what}: {'; '.join(parts)}."


def cells(row, result):
    low, high = result.wanpool.spread
    wanpool = format_value(result.wanpool.median, row.unit)
    if low < high:
        wanpool += f" ({format_value(low, row.unit)} – {format_value(high, row.unit)})"
    baseline, ratio = "–", "–"
    if result.ratio:
        low, high = result.ratio.spread
        baseline = format_value(result.baseline.median, row.unit)
        ratio = f"{three_digits(result.ratio.median)} ({three_digits(low)} – {three_digits(high)})"
    if misses_limit(row, result):
        ratio += " **limit missed**"
    limits = [format_limit(value, row, result) for value in (row.limit, row.goal)]
    return [row.what, wanpool, baseline, ratio, *limits]


def misses_limit(row, result):
    if row.higher_is_better:
        return result.value < row.limit
    return result.value > row.limit


def json_object(row, result):
    """The numbers of a row in its base unit: seconds, bytes or a count."""
    values = {"name": row.name, "what": row.what, "unit": row.unit}
    for key, series in [("wanpool", result.wanpool), ("baseline", result.baseline), ("ratio", result.ratio)]:
        if series:
            values |= {key: series.median, f"{key}_q1": series.spread[0], f"{key}_q3": series.spread[1]}
    return values | {"bar": row.limit, "aim": row.goal, "beyond": misses_limit(row, result), "parts": result.parts}


def format_limit(value, row, result):
    return f"{value:,g}" if result.ratio or not row.unit else f"{value / 1e6:g} MB"


def format_value(value, unit):
    if unit == "×":
        return three_digits(value)
    if not unit:
        return f"{value:g}"
    for size, name in UNITS[unit]:
        if value >= size:
            break
    return f"{three_digits(value / size)} {name}"


def three_digits(value):
    """A number with three significant digits. A larger number keeps all digits before the decimal point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"
