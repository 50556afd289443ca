"""How results are shown: as rows of a Markdown table, or as flat objects for JSON."""

HEAD = ["what", "wanpool (median, spread)", "baseline (median)", "ratio", "limit", "goal"]
STEPS = {"s": [(1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")], "B": [(1e6, "MB")]}


def table(rows, results, where):
    lines = [HEAD, ["---"] * len(HEAD)] + [cells(rows[name], result) for name, result in results.items()]
    notes = [each_part(rows[name], result) for name, result in results.items() if result.parts]
    about = [f"{where}. Spread: the quartiles of all runs, of the ratio those of the rounds."]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *"\n\n".join(about + notes).splitlines()])


def each_part(row, result):
    unit = "×" if result.ratio else row.unit
    return f"{row.what}: " + "; ".join(f"{name} {shown(value, unit)}" for name, value in result.parts.items()) + "."


def cells(row, result):
    low, high = result.ours.spread
    ours = shown(result.ours.median, row.unit)
    if low < high:
        ours += f" ({shown(low, row.unit)} – {shown(high, row.unit)})"
    baseline, ratio = "–", "–"
    if result.ratio:
        low, high = result.ratio.spread
        baseline = shown(result.baseline.median, row.unit)
        ratio = f"{digits(result.ratio.median)} ({digits(low)} – {digits(high)})"
    if beyond(row, result):
        ratio += " **limit missed**"
    return [row.what, ours, baseline, ratio, limit(row.bar, row, result), limit(row.aim, row, result)]


def beyond(row, result):
    return result.judged < row.bar if row.more else result.judged > row.bar


def flat(row, result):
    """All of a row's numbers in its unit: seconds, bytes or a plain count."""
    values = {"name": row.name, "what": row.what, "unit": row.unit}
    for key, series in [("wanpool", result.ours), ("baseline", result.baseline), ("ratio", result.ratio)]:
        if series:
            values |= {key: series.median, f"{key}_q1": series.spread[0], f"{key}_q3": series.spread[1]}
    return values | {"bar": row.bar, "aim": row.aim, "beyond": beyond(row, result), "parts": result.parts}


def limit(value, row, result):
    return f"{value:,g}" if result.ratio or not row.unit else f"{value / 1e6:g} MB"


def shown(value, unit):
    if unit == "×":
        return digits(value)
    if not unit:
        return f"{value:g}"
    for size, name in STEPS[unit]:
        if value >= size:
            break
    return f"{digits(value / size)} {name}"


def digits(value):
    """Three that count, and never fewer than the number has before its point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"
