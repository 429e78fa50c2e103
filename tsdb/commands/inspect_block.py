"""``tsdb inspect block``: sections, what takes the room, series and samples of a block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tsdb.storage.block import Block

MOST = 10
"""Rows of the tables of what is largest."""
ROWS_AT_ONCE = 1024


@click.command()
@click.argument("block", metavar="DIR|ULID")
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, metavar="DIR",
              help="The data directory in which a ULID is looked up.")
@click.option("--match", "matches", multiple=True, metavar="SELECTOR",
              help="List the series that satisfy it, as in '{job=\"api\"}'; repeatable.")
@click.option("--samples", is_flag=True, help="With --match: every sample of these series.")
@click.option("--limit", type=click.IntRange(0), default=0, metavar="N", help="At most so many series; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def block(block: str, data: Path, matches: tuple[str, ...], samples: bool, limit: int, as_json: bool) -> None:
    """Shows a block, by its folder or its ULID.

    \b
    Without --match: what it was made of, the sections of its index with their sizes,
    bytes per sample and series, metrics and labels that take the most room, and how
    many samples the chunks have.

    \b
      tsdb inspect block data/blocks/01JD3V3Q5WJ3ZV0X9T6M8N2K4B
      tsdb inspect block 01JD3V3Q5WJ3ZV0X9T6M8N2K4B --data /var/lib/tsdb
      tsdb inspect block 01JD3… --match 'http_requests_total{job="api"}' --limit 20
      tsdb inspect block 01JD3… --match up --samples | head
    """
    from tsdb.commands.tables import print_lines
    from tsdb.model.errors import ConfigError
    from tsdb.storage.block import Block
    from tsdb.storage.block.ulid import is_ulid
    from tsdb.wal.files import LocalFileSystem

    path = data / "blocks" / block if is_ulid(block) else Path(block)
    if is_ulid(block) and not path.exists():
        path = next((data / "tiers").glob(f"*/{block}"), path)
    if not (path / "index").exists():
        raise ConfigError(f"{path} is no block: give its folder, or its ULID and --data DIR")
    if samples and not matches:
        raise click.UsageError("--samples needs --match: a block may have very many")
    opened = Block.open(LocalFileSystem(), path)
    try:
        for file, problem in opened.left_out:
            click.echo(f"warning: {file}: {problem}", err=True)
        if matches:
            print_lines(_list(opened, matches, samples, as_json, limit))
        else:
            found = summary(opened)
            click.echo(json.dumps(found, indent=2) if as_json else text(found))
    finally:
        opened.release()


def summary(block: Block) -> dict[str, Any]:
    """Everything that is shown without --match."""
    meta, index = block.meta, block.index
    stats, made = meta.stats, meta.compaction
    sections = [{"name": name, "type": index[name].array.dtype.str, "items": index[name].size,
                 "bytes": int(index[name].raw.size)} for name in index.names()]
    size = sum(int(index[name].raw.size) for name in index.names())
    chunks = int(block.chunks.size)
    first, last = index["chunk_mint"].all(), index["chunk_maxt"].all()
    return {
        "path": str(block.path), "ulid": meta.ulid, "minTime": meta.mint, "maxTime": meta.maxt,
        "firstSample": meta.mint + int(first.min()) if first.size else None,
        "lastSample": meta.mint + int(last.max()) if last.size else None,
        "samples": stats.samples, "histograms": stats.histograms, "series": stats.series, "chunks": stats.chunks,
        "level": made.level, "sources": list(made.sources), "parents": [each.ulid for each in made.parents],
        "hints": list(made.hints), "windows": list(made.windows), "border": made.border,
        "tombstones": len(block.tombstones), **({} if meta.tier is None else {"tier": {
            "resolution": meta.tier.resolution_ms, "quantiles": list(meta.tier.quantiles),
            "matchers": [f"{each.name}{each.type.value}{json.dumps(each.value)}" for each in meta.tier.matchers],
            "raw": len(meta.tier.raw), "leftOut": meta.tier.left_out}}),
        "bytes": {"index": size, "chunks": chunks, "perSample": (size + chunks) / max(stats.samples, 1),
                  "chunksPerSample": chunks / max(stats.samples, 1), "indexPerSeries": size / max(stats.series, 1)},
        "sections": sections, **_largest(block), "forms": _forms(block), "schemas": _schemas(block),
        "chunkSamples": _histogram(index["chunk_samples"].all()),
    }


def _forms(block: Block) -> list[dict[str, Any]]:
    """Chunks, samples and bytes of each kind and codec."""
    import numpy as np

    from tsdb.storage.block.layout import CODECS, KINDS

    index = block.index
    forms = index["chunk_form"].all()
    sizes, samples = np.diff(index["chunk_offset"].all().astype(np.int64)), index["chunk_samples"].all()
    out = []
    for form in np.unique(forms).tolist():
        own = forms == form
        kind, codec = form & 7, form >> 3 & 15
        out.append({"kind": KINDS.get(kind, str(kind)), "codec": CODECS.get(codec, str(codec)),
                    "chunks": int(np.count_nonzero(own)), "samples": int(samples[own].sum(dtype=np.int64)),
                    "bytes": int(sizes[own].sum())})
    return out


def _schemas(block: Block) -> list[dict[str, Any]]:
    """What chunks of histograms begin with: how many have which schema, and the buckets of one at the most."""
    import numpy as np

    from tsdb.storage.block.layout import HISTOGRAMS

    chunks = np.flatnonzero(block.index["chunk_form"].all() == HISTOGRAMS)
    if not chunks.size:
        return []
    data, at = block.chunks, block.index["chunk_offset"].all()[chunks].astype(np.int64) + 5
    buckets = np.zeros(at.size, np.int64)
    for number in range(5):  # bytes of payload, histograms, layouts, buckets, bytes of the first layout
        unread, shift = np.arange(at.size), 0
        while unread.size and shift < 64:
            byte = data[np.minimum(at[unread], data.size - 1)].astype(np.int64)
            at[unread] += 1
            if number == 3:
                buckets[unread] |= (byte & 127) << shift
            unread, shift = unread[byte > 127], shift + 7
    schemas = data[np.minimum(at, data.size - 1)].view(np.int8)
    return [{"schema": schema, "chunks": int(np.count_nonzero(schemas == schema)),
             "buckets": int(buckets[schemas == schema].max())} for schema in np.unique(schemas).tolist()]


def _largest(block: Block) -> dict[str, Any]:
    import numpy as np

    index, table = block.index, block.symbols
    counts = np.diff(index["posting_offset"].all().astype(np.int64))
    names, values = index["pair_name"].all(), index["pair_value"].all()
    text_ends = index["symbol_offset"].all().astype(np.int64)
    lengths = text_ends[1:] - text_ends[:-1]
    low, high = table.pairs_of(b"__name__")
    offsets = index["chunk_offset"].all().astype(np.int64)
    series_bytes = np.diff(offsets[index["series_chunk"].all()])
    begin = index["posting_offset"].all().astype(np.int64)
    metric_bytes = np.zeros(high - low, np.int64)
    if high > low:
        rows = index["posting"].part(int(begin[low]), int(begin[high]))
        metric_bytes = np.add.reduceat(series_bytes[rows], begin[low:high] - begin[low])
    label = index["name_symbol"].all()
    first_pair = index["name_pair"].all().astype(np.int64)
    distinct = first_pair[1:] - first_pair[:-1]
    sizes = np.bincount(names, weights=lengths[values], minlength=lengths.size).astype(np.int64)[label]
    return {
        "metrics": [{"name": table.text(int(values[low + at])), "series": int(counts[low + at]),
                     "chunkBytes": int(metric_bytes[at])} for at in _most(metric_bytes)],
        "labels": [{"name": table.text(int(label[at])), "values": int(distinct[at]), "bytes": int(sizes[at])}
                   for at in _most(distinct)],
        "pairs": [{"name": table.text(int(names[at])), "value": table.text(int(values[at])), "series": int(counts[at])}
                  for at in _most(np.where(np.isin(np.arange(counts.size), np.arange(low, high)), 0, counts))],
        "longest": [{"value": table.text(int(at)), "bytes": int(lengths[at])} for at in _most(lengths)[:5]],
    }


def _most(counts: NDArray[np.int64]) -> list[int]:
    """Places of the largest counts above 0, the largest first."""
    import numpy as np

    found = np.argsort(-counts, kind="stable")[:MOST]
    return [int(at) for at in found if counts[at] > 0]


def _histogram(samples: NDArray[np.uint16]) -> list[dict[str, int]]:
    """How many chunks have how many samples: between powers of two."""
    import numpy as np

    out = []
    least = 1
    while least <= int(samples.max(initial=0)):
        inside = (samples >= least) & (samples < 2 * least)
        if inside.any():
            out.append({"from": least, "to": 2 * least - 1, "chunks": int(np.count_nonzero(inside))})
        least *= 2
    return out


def _tier(found: dict[str, Any]) -> str:
    from tsdb.model.durations import format_duration

    parts = [f"windows of {format_duration(found['resolution'])}, of the samples of {found['raw']} blocks",
             *([f"of {{{', '.join(found['matchers'])}}}"] if found["matchers"] else []),
             *([f"quantiles {', '.join(map(str, found['quantiles']))}"] if found["quantiles"] else []),
             *([f"{found['leftOut']} series left out"] if found["leftOut"] else [])]
    return "; ".join(parts)


def text(found: dict[str, Any]) -> str:
    """For people."""
    from tsdb.commands.tables import amount, bars, size, table
    from tsdb.model.times import time_text

    sizes = found["bytes"]
    total = max(sizes["index"] + sizes["chunks"], 1)
    facts = [
        ("path", found["path"]),
        ("range", f"{time_text(found['minTime'])} to {time_text(found['maxTime'])}, of which the end is not part"),
        *([("samples", f"from {time_text(found['firstSample'])} to {time_text(found['lastSample'])}")]
          if found["firstSample"] is not None else []),
        ("holds", f"{amount(found['samples'])} samples in {amount(found['chunks'])} chunks of "
                  f"{amount(found['series'])} series"
                  + (f"; {amount(found['histograms'])} samples are histograms" if found["histograms"] else "")),
        ("takes", f"{size(total)}: chunks {size(sizes['chunks'])}, index {size(sizes['index'])}"),
        ("", f"{sizes['perSample']:.2f} bytes per sample, {sizes['chunksPerSample']:.2f} of them in chunks; "
             f"{sizes['indexPerSeries']:.0f} bytes of index per series"),
        ("level", f"{found['level']}{' ' + ', '.join(found['hints']) if found['hints'] else ''}"),
        *([("tier", _tier(found["tier"]))] if "tier" in found else []),
        *([("sources", ", ".join(found["sources"]))] if len(found["sources"]) > 1 else []),
        *([("parents", ", ".join(found["parents"]))] if found["parents"] else []),
        *([("cut from", ", ".join(found["windows"]))] if found["windows"] else []),
        *([("deleted", f"{amount(found['tombstones'])} tombstones: intervals of series that still take room")]
          if found["tombstones"] else []),
    ]
    width = max(len(name) for name, _ in facts)
    out = [f"block {found['ulid']}", *(f"  {name:<{width}}  {value}" for name, value in facts)]
    rows = [[each["name"], each["type"], amount(each["items"]), size(each["bytes"]), f"{each['bytes'] / total:.1%}"]
            for each in found["sections"]]
    rows.append(["chunks (the file)", "", amount(found["chunks"]), size(sizes["chunks"]),
                 f"{sizes['chunks'] / total:.1%}"])
    out += ["", table(["section", "type", "items", "size", "share"], rows, "llrrr")]
    out += ["", table(["kind of chunks", "codec", "chunks", "samples", "size", "bytes per sample"],
                      [[each["kind"], each["codec"], amount(each["chunks"]), amount(each["samples"]),
                        size(each["bytes"]), f"{each['bytes'] / max(each['samples'], 1):.2f}"]
                       for each in found["forms"]], "llrrrr")]
    if found["schemas"]:
        out += ["", table(["schema of histograms", "chunks", "most buckets"],
                          [[str(each["schema"]), amount(each["chunks"]), amount(each["buckets"])]
                           for each in found["schemas"]], "rrr")]
    out += ["", table(["largest metrics", "series", "chunks"],
                      [[each["name"], amount(each["series"]), size(each["chunkBytes"])] for each in found["metrics"]],
                      "lrr")]
    out += ["", table(["labels with most values", "values", "bytes of them"],
                      [[each["name"], amount(each["values"]), size(each["bytes"])] for each in found["labels"]], "lrr")]
    out += ["", table(["pairs with most series", "series"],
                      [[f"{each['name']}={each['value']}", amount(each["series"])] for each in found["pairs"]], "lr")]
    out += ["", table(["longest values", "size"],
                      [[shortened(each["value"]), size(each["bytes"])] for each in found["longest"]], "lr")]
    counts = [each["chunks"] for each in found["chunkSamples"]]
    out += ["", table(["samples of a chunk", "chunks", ""],
                      [[f"{each['from']} to {each['to']}", amount(each["chunks"]), bar] for each, bar
                       in zip(found["chunkSamples"], bars(counts), strict=True)], "lrl")]
    return "\n".join(out)


def shortened(value: str) -> str:
    return value if len(value) <= 60 else value[:57] + "…"


def _list(block: Block, matches: tuple[str, ...], samples: bool, as_json: bool, limit: int) -> Iterator[str]:
    """Series, or their samples, line by line."""
    import numpy as np

    from tsdb.model.labels import format_series
    from tsdb.model.times import time_text
    from tsdb.promql.syntax.parser import parse_selector

    found = [block.find(parse_selector(match)) for match in matches]
    rows = np.unique(np.concatenate(found)).astype(np.int32)
    rows = rows[:limit] if limit else rows
    if not samples and not as_json:
        yield f"{'chunks':>7}  {'samples':>9}  {'bytes':>9}  {'first':<24}  {'last':<24}  series"
    for each in _series(block, rows):
        row = each.pop("row")
        if samples and as_json:
            yield json.dumps({"labels": each["labels"], "samples": [[t, v] for t, v in _samples(block, row)]})
        elif samples:
            yield format_series(each["labels"].items())
            yield from (f"  {time_text(t):<24}  {v}" for t, v in _samples(block, row))
        elif as_json:
            yield json.dumps(each)
        else:
            yield (f"{each['chunks']:>7}  {each['samples']:>9}  {each['bytes']:>9}  {time_text(each['minTime']):<24}  "
                   f"{time_text(each['maxTime']):<24}  {format_series(each['labels'].items())}")


def _series(block: Block, rows: NDArray[np.int32]) -> Iterator[dict[str, Any]]:
    import numpy as np

    index = block.index
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(index["chunk_samples"].all(), dtype=np.int64)))
    for start in range(0, rows.size, ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        found = block.series_set(part)
        symbols = np.unique(np.concatenate((found.names, found.values))).astype(np.int64)
        texts = dict(zip(symbols.tolist(), map(bytes.decode, block.symbols.texts(symbols)), strict=True))
        names, values = ([texts[symbol] for symbol in ids.tolist()] for ids in (found.names, found.values))
        ends = found.offsets.tolist()
        at = part.astype(np.int64)
        first, past = (index["series_chunk"].at(each).astype(np.int64) for each in (at, at + 1))
        begin, end = index["chunk_offset"].at(first).astype(np.int64), index["chunk_offset"].at(past).astype(np.int64)
        oldest, newest = block.spans(part)
        columns = (part, past - first, sums[past] - sums[first], end - begin, oldest, newest)
        for place, (row, *numbers) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            labels = slice(ends[place], ends[place + 1])
            yield {"row": row, "labels": dict(zip(names[labels], values[labels], strict=True)),
                   **dict(zip(("chunks", "samples", "bytes", "minTime", "maxTime"), numbers, strict=True))}


def _samples(block: Block, row: int) -> Iterator[tuple[int, str]]:
    """Times (ms) and values of a row, deleted ones included; of histograms what they count."""
    import numpy as np

    from tsdb.model.native_histograms import decode, is_boxed, offsets

    ranges = block.chunk_ranges(np.array([row], np.int32), -(1 << 63), (1 << 63) - 1)
    found = block.decode_kinds(ranges, 0, 1)
    texts = list(map(repr, found.values.view(np.float64).tolist()))
    if found.payload is not None:
        places = offsets(found.values) - found.payload.__array_interface__["data"][0]
        for place in np.flatnonzero(is_boxed(found.values)).tolist():
            one = decode(found.payload, int(places[place]))
            texts[place] = f"histogram: schema {one.schema}, count {one.count}, sum {one.sum!r}"
    return zip(found.ts.tolist(), texts, strict=True)
