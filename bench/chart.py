"""A plot without a library: bars of throughput and of the client's waiting time, as one SVG file."""

from pathlib import Path

WIDTH, BAR, GAP, LEFT = 640, 14, 6, 200
COLOURS = ("#4269d0", "#9498a0", "#efb118", "#3ca951", "#ff725c")


def draw(path, rows, median):
    """`rows` as they were measured; `median(rows, scenario, relay, figure)` gives one figure."""
    panels = (("drained per second", "drained_s"), ("client waits, p50 ms", "p50"), ("client waits, p99 ms", "p99"))
    scenarios = list(dict.fromkeys(row["scen"] for row in rows))
    relays = list(dict.fromkeys(row["relay"] for row in rows))
    parts, y = [], 24
    for title, figure in panels:
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{title}</text>')
        y += 12
        most = max(median(rows, scenario, relay, figure) for scenario in scenarios for relay in relays) or 1
        for scenario in scenarios:
            for number, relay in enumerate(relays):
                value = median(rows, scenario, relay, figure)
                length = round((WIDTH - LEFT - 80) * value / most, 1)
                colour = COLOURS[number % len(COLOURS)]
                parts.append(f'<text x="8" y="{y + 11}">{scenario} {relay}</text>')
                parts.append(f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" fill="{colour}"/>')
                parts.append(f'<text x="{LEFT + length + 6}" y="{y + 11}">{value:.4g}</text>')
                y += BAR + 2
            y += GAP
        y += 24
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="11">'
    )
    Path(path).write_text("\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"]))
