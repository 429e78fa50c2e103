"""``tsdb inspect chunk``: files of sealed chunks of the last hours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AT_ONCE = 10_000
"""Chunks that are looked at at once."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…",
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--chunks", is_flag=True, help="List every chunk with what its header says.")
@click.option("--ref", type=int, metavar="N", help="Only chunks of the series with this reference; see `tsdb inspect "
              "wal --series`.")
@click.option("--samples", "offset", type=int, metavar="OFFSET",
              help="Every sample of the chunk that begins at this byte.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def chunk(files: tuple[Path, ...], chunks: bool, ref: int | None, offset: int | None, as_json: bool) -> None:
    """Shows files of sealed chunks, which hold the newest hours that are not in blocks yet (data/chunks/*.chunks).

    \b
      tsdb inspect chunk data/chunks/*.chunks
      tsdb inspect chunk --chunks data/chunks/1795392000000.chunks | sort -k3 -n | tail
      tsdb inspect chunk --ref 17 data/chunks/1795392000000.chunks
      tsdb inspect chunk --samples 64 data/chunks/1795392000000.chunks

    Chunks name their series by a reference; `tsdb inspect wal --series DIR` says which one that is.
    """
    if not chunks and ref is None and offset is None:
        found = [_summary(file) for file in files]
        click.echo(json.dumps(found, indent=2) if as_json else "\n\n".join(map(_text, found)))
        return
    from tsdb.commands.tables import print_lines

    for file in files:
        data = _mapped(file)
        if offset is not None:
            _print_samples(file, data, offset, as_json)
            continue
        if not as_json:
            click.echo(f"{'offset':>10}  {'ref':>8}  {'samples':>7}  {'bytes':>5}  {'previous':>10}  {'first':<24}  "
                       "last")
        print_lines(json.dumps(each) if as_json else _line(each)
                    for each in _chunks(data) if ref is None or each["ref"] == ref)


def _mapped(file: Path) -> NDArray[np.uint8]:
    from tsdb.model.errors import ConfigError
    from tsdb.storage.head.layout import WINDOW_HEADER_BYTES
    from tsdb.storage.head.windows import HEADER
    from tsdb.wal.files import LocalFileSystem

    opened = LocalFileSystem().open(file)
    try:
        if opened.pread(len(HEADER.magic), 0) != HEADER.magic or opened.size() < WINDOW_HEADER_BYTES:
            raise ConfigError(f"{file} is no file of sealed chunks, or its header is damaged; chunks of blocks: tsdb "
                              "inspect block")
        return opened.map(opened.size()).array
    finally:
        opened.close()


def _pieces(data: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], tuple[int, int] | None]]:
    """Where sound chunks begin, piece by piece; and from where to where no sound one is behind them."""
    import numpy as np

    from tsdb.storage.head.layout import WINDOW_HEADER_BYTES
    from tsdb.storage.head.sealed_kernels import DAMAGED, END, list_sealed, next_sealed

    at, state = WINDOW_HEADER_BYTES, -1
    while state != END:
        offsets = np.empty(AT_ONCE, np.int64)
        count, at, state = list_sealed(data, at, offsets)
        damaged = None
        if state == DAMAGED:
            found = next_sealed(data, at + 8)
            damaged = (at, found if found >= 0 else data.size)
            at, state = (found, -1) if found >= 0 else (at, END)
        yield offsets[:count], damaged


def _columns(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """What the headers of chunks say."""
    import numpy as np

    words = data[: data.size // 8 * 8].view(np.uint64)
    header = words[(offsets // 8)[:, None] + np.arange(6)]
    low32, low40 = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)
    bits = (header[:, 3] >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int64)
    first = header[:, 2].view(np.int64)
    return {
        "offset": offsets, "ref": header[:, 1].astype(np.int64),
        "samples": (header[:, 0] >> np.uint64(48)).astype(np.int64),
        "bytes": 48 + (bits + 63) // 64 * 8, "bits": bits, "minTime": first,
        "maxTime": first + (header[:, 3] & low32).astype(np.int64), "previous": (header[:, 4] & low40).astype(np.int64),
    }


def _chunks(data: NDArray[np.uint8]) -> Iterator[dict[str, int]]:
    for offsets, damaged in _pieces(data):
        columns = {name: column.tolist() for name, column in _columns(data, offsets).items()}
        for place in range(offsets.size):
            yield {name: column[place] for name, column in columns.items()}
        if damaged is not None:
            click.echo(f"damaged from byte {damaged[0]} to {damaged[1]}", err=True)


def _summary(file: Path) -> dict[str, Any]:
    import numpy as np

    from tsdb.storage.head.file_header import HEADER_BYTES, number_of
    from tsdb.storage.head.layout import WINDOW_MS
    from tsdb.storage.head.windows import HEADER

    data = _mapped(file)
    header = data[:HEADER_BYTES].tobytes()
    start = number_of(header)
    problem = HEADER.problem(file, start, header)
    refs: list[NDArray[np.int64]] = []
    out: dict[str, Any] = {"path": str(file), "header": "sound" if problem is None else "damaged", "minTime": start,
                           "maxTime": start + WINDOW_MS, "fileBytes": int(data.size), "chunks": 0, "samples": 0,
                           "chunkBytes": 0, "first": None, "last": None, "damaged": []}
    samples = np.zeros(17, np.int64)
    for offsets, damaged in _pieces(data):
        columns = _columns(data, offsets)
        if offsets.size:
            refs = [np.unique(np.concatenate((*refs, columns["ref"])))]
            out["chunks"] += int(offsets.size)
            out["samples"] += int(columns["samples"].sum())
            out["chunkBytes"] += int(columns["bytes"].sum())
            first, last = int(columns["minTime"].min()), int(columns["maxTime"].max())
            out["first"] = first if out["first"] is None else min(out["first"], first)
            out["last"] = last if out["last"] is None else max(out["last"], last)
            samples += np.bincount(np.log2(np.maximum(columns["samples"], 1)).astype(np.int64), minlength=17)
        if damaged is not None:
            out["damaged"].append(list(damaged))
    out["series"] = int(refs[0].size) if refs else 0
    out["chunkSamples"] = [{"from": 1 << k, "to": (2 << k) - 1, "chunks": int(samples[k])} for k in range(17)
                           if samples[k]]
    return out


def _text(found: dict[str, Any]) -> str:
    from tsdb.commands.tables import amount, bars, size, table
    from tsdb.model.times import time_text

    out = [found["path"] + ("" if found["header"] == "sound" else ": its header is damaged"),
           f"  window   {time_text(found['minTime'])} to {time_text(found['maxTime'])}",
           f"  holds    {amount(found['samples'])} samples in {amount(found['chunks'])} chunks of "
           f"{amount(found['series'])} series"]
    if found["chunks"]:
        out += [f"  times    {time_text(found['first'])} to {time_text(found['last'])}",
                f"  takes    {size(found['chunkBytes'])} of {size(found['fileBytes'])} allocated; "
                f"{found['chunkBytes'] / found['samples']:.2f} bytes per sample"]
    out += [f"  damaged  from byte {start} to {end}" for start, end in found["damaged"]]
    if found["chunks"]:
        rows = [[f"  {each['from']} to {each['to']}", amount(each["chunks"]), bar] for each, bar
                in zip(found["chunkSamples"], bars([each["chunks"] for each in found["chunkSamples"]]), strict=True)]
        out += ["", table(["  samples of a chunk", "chunks", ""], rows, "lrl")]
    return "\n".join(out)


def _line(each: dict[str, int]) -> str:
    from tsdb.model.times import time_text

    return (f"{each['offset']:>10}  {each['ref']:>8}  {each['samples']:>7}  {each['bytes']:>5}  "
            f"{each['previous'] or '-':>10}  {time_text(each['minTime']):<24}  {time_text(each['maxTime'])}")


def _print_samples(file: Path, data: NDArray[np.uint8], offset: int, as_json: bool) -> None:
    import numpy as np

    from tsdb.model.errors import ConfigError
    from tsdb.model.times import time_text
    from tsdb.storage.checking.window_kernels import SAMPLES, SCRATCH_WORDS, TOTALS, check_chunks
    from tsdb.storage.head.layout import WINDOW_HEADER_BYTES

    totals = np.zeros(TOTALS, np.int64)
    ts, values = np.empty(1 << 16, np.int64), np.empty(1 << 16, np.uint64)
    if offset >= WINDOW_HEADER_BYTES and offset % 8 == 0:
        nothing = np.zeros(0, np.uint64)
        check_chunks(data, offset, 1, nothing, nothing, np.empty(SCRATCH_WORDS, np.uint64), ts, values,
                     np.zeros(1, np.uint64), totals)
    count = int(totals[SAMPLES])
    if count == 0:
        raise ConfigError(f"{file}: no sound chunk begins at byte {offset}: --chunks lists them")
    texts = _texts(file, values[:count])
    if as_json:
        click.echo(json.dumps({"offset": offset,
                               "samples": list(map(list, zip(ts[:count].tolist(), texts, strict=True)))}))
        return
    for t, text in zip(ts[:count].tolist(), texts, strict=True):
        click.echo(f"{time_text(t):<24}  {text}")


def _texts(file: Path, values: NDArray[np.uint64]) -> list[str]:
    """Floats, and what a histogram counts."""
    import numpy as np

    from tsdb.model.native_histograms import decode, is_boxed
    from tsdb.storage.head import payload_kernels
    from tsdb.storage.head.payloads import Payloads, resolve
    from tsdb.wal.files import LocalFileSystem

    texts = list(map(repr, values.view(np.float64).tolist()))
    payloads = Payloads(LocalFileSystem(), file.absolute().parent.parent / "histograms")
    payloads.load()
    view = payloads.view()
    for place in np.flatnonzero(is_boxed(values)).tolist():
        row, value = (np.zeros(1, np.int64), np.ones(1, np.int64)), values[place : place + 1].copy()
        if view is None or resolve(*row, np.zeros(1, np.int64), value, None, view) is not None:
            texts[place] = "a histogram that is gone or damaged"
            continue
        data = np.empty(payload_kernels.gather(*row, value, np.empty(0, np.uint8)), np.uint8)
        payload_kernels.gather(*row, value, data)
        found = decode(data, 0)
        texts[place] = f"histogram: schema {found.schema}, count {found.count}, sum {found.sum!r}"
    payloads.close()
    return texts
