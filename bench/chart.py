"""Draws the bars of the README from results of the peer bench; of a server in several, the first counts.

    python -m bench.chart bench/peers/results/A.json [B.json ...] docs/figures.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

COLOURS = {"tsdb": "#c2410c", "prometheus": "#64748b", "victoria-metrics": "#94a3b8"}
ROWS: list[tuple[str, tuple[str | int, ...], str]] = [
    ("ingest: CPU seconds per million samples", ("ingest", 0, "cpu_s_per_million"), "{:.2f}"),
    ("disk: bytes per sample, index included", ("disk", "prepared", "persistent_bytes_per_sample"), "{:.2f}"),
    ("sum(rate()) of every counter, {steps} steps: ms", ("queries", "r_highcard_rate_fine", "p50_ms"), "{:,.0f}"),
    ("histogram_quantile by job, {steps} steps: ms", ("queries", "r_hq_by_job", "p50_ms"), "{:,.0f}"),
    ("sum by (job) (rate()), {steps} steps: ms", ("queries", "r_sum_job_rate", "p50_ms"), "{:,.1f}"),
    ("count by (__name__) of all series: ms", ("queries", "i_count_all_names", "p50_ms"), "{:,.1f}"),
]
LEFT, WIDTH, BAR, GAP = 300, 380, 15, 16


def value(target: Any, path: tuple[str | int, ...]) -> float | None:
    for key in path:
        try:
            target = target[key]
        except (KeyError, IndexError, TypeError):
            return None
    return float(target)


def draw(document: dict[str, Any]) -> str:
    """The chart as SVG: for each figure one bar for each server, as long as its share of the longest."""
    targets = {name: document["targets"][name] for name in COLOURS if name in document["targets"]}
    dataset, first = document["dataset"], next(iter(targets.values()))
    out, y = [], 44
    for title, path, form in ROWS:
        steps = round((value(first, (*path[:2], "points")) or 0) / (value(first, (*path[:2], "series")) or 1))
        found = {name: value(target, path) for name, target in targets.items()}
        longest = max((v for v in found.values() if v is not None), default=0.0)
        if not longest:
            continue
        middle = y + BAR * len(targets) / 2 + 4
        name = escape(title.format(steps=steps))
        out.append(f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end">{name}</text>')
        for name, figure in found.items():
            if figure is not None:
                length = max(figure / longest * WIDTH, 1)
                out.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 3}" fill="{COLOURS[name]}"/>')
                text = form.format(figure)
                out.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 10}" class="figure">{text} {name}</text>')
            y += BAR
        y += GAP
    head = (f"{dataset['series']:,} series, {dataset['samples'] / 1e6:.0f} M samples, "
            f"{document['machine']['cores']} cores; shorter is better")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 150} {y + 4}" font-family="sans-serif" '
        f'font-size="13"><style>text{{fill:#334155}}.figure{{font-size:11px}}'
        "@media(prefers-color-scheme:dark){text{fill:#cbd5e1}}</style>"
        f'<text x="{LEFT}" y="22">{head}</text>' + "".join(out) + "</svg>\n"
    )


if __name__ == "__main__":
    *results, picture = sys.argv[1:]
    documents = [json.loads(Path(result).read_text()) for result in results]
    targets = {name: target for one in reversed(documents) for name, target in one["targets"].items()}
    Path(picture).write_text(draw({**documents[0], "targets": targets}))
