"""Writing the index of a Prometheus block, version 2 (tsdb/docs/format/index.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import StorageError
from tsdb.model.label_order import label_order
from tsdb.model.tiles import SeriesSet
from tsdb.prometheus_data.index_kernels import SERIES_ALIGNMENT
from tsdb.prometheus_data.index_writing_kernels import POSTINGS_FRAME, write_postings, write_series
from tsdb.wal.files import File, FileSystem, write_all

HEADER = bytes.fromhex("baaad700") + b"\x02"
PIECE_BYTES = 8 << 20


def write_index(fs: FileSystem, path: Path, series: SeriesSet, chunks: NDArray[np.int64]) -> int:
    """Writes the series of a set that have chunks: i64[n, CHUNK_COLUMNS], by row and time. How many they are."""
    rows = len(series)
    chunk_offset = np.searchsorted(chunks[:, 1], np.arange(rows + 1)).astype(np.int64)
    order = label_order(series)
    order = np.ascontiguousarray(order[np.diff(chunk_offset)[order] > 0])
    begin, end = np.ascontiguousarray(series.offsets[:-1]), np.ascontiguousarray(series.offsets[1:])
    counts = (end - begin)[order]
    labels = np.repeat(begin[order], counts) + _places_within(counts)
    texts, number_of = _symbols(series, labels)
    names, values = number_of[series.names], number_of[series.values]
    file = fs.open(path, writable=True, create=True, truncate=True)
    try:
        body = b"".join(_varint(len(text)) + text for text in texts)
        at = _put_section(file, 5, len(texts).to_bytes(4, "big") + body)
        write_all(file, HEADER, 0)
        series_at = -(-at // SERIES_ALIGNMENT) * SERIES_ALIGNMENT  # the gap reads as zeros
        places = np.zeros(order.size + 1, np.int64)
        longest = int((20 + 10 * counts + 40 * np.diff(chunk_offset)[order]).max(initial=0))
        scratch, out = np.empty(longest, np.uint8), np.empty(PIECE_BYTES + 2 * longest, np.uint8)
        done, at = 0, series_at
        while done < order.size:
            done = write_series(done, at, order, begin, end, names, values, chunk_offset, chunks, scratch, out, places)
            write_all(file, out.data[: int(places[done]) - at], at)
            at = int(places[done])
        if at // SERIES_ALIGNMENT > 0xFFFFFFFF:
            raise StorageError(f"{path}: the index would be larger than 64 GiB: export shorter ranges of time")
        refs = (places[:-1] // SERIES_ALIGNMENT).astype(np.uint32)
        at = -(-at // 4) * 4
        postings_at = at
        pairs = names[labels].astype(np.uint64) << np.uint64(32) | values[labels]
        by_pair = np.argsort(pairs, kind="stable")
        distinct, first = np.unique(pairs[by_pair], return_index=True)
        lists = np.concatenate((refs, np.repeat(refs, counts)[by_pair]))
        offsets = np.concatenate(([0], refs.size + first, [lists.size])).astype(np.int64)
        out = np.empty(POSTINGS_FRAME * (offsets.size - 1) + 4 * lists.size, np.uint8)
        write_postings(lists, offsets, out)
        write_all(file, out.data, at)
        starts = (at + POSTINGS_FRAME * np.arange(offsets.size - 1) + 4 * offsets[:-1]).tolist()
        label_table_at = at + out.size
        postings_table_at = _put_section(file, label_table_at, bytes(4))
        spelled = [_varint(len(text)) + text for text in texts]
        entries = [b"\x02\x00\x00" + _varint(starts[0])]
        entries += [b"\x02" + spelled[pair >> 32] + spelled[pair & 0xFFFFFFFF] + _varint(start)
                    for pair, start in zip(distinct.tolist(), starts[1:], strict=True)]
        at = _put_section(file, postings_table_at, len(entries).to_bytes(4, "big") + b"".join(entries))
        contents = b"".join(place.to_bytes(8, "big") for place in (
            5, series_at, postings_at, label_table_at, postings_at, postings_table_at))
        write_all(file, contents + _checksum(contents), at)
        file.datasync()
    finally:
        file.close()
    return int(order.size)


def _symbols(series: SeriesSet, labels: NDArray[np.int64]) -> tuple[list[bytes], NDArray[np.uint32]]:
    """(distinct texts of these labels in their order, number of each symbol's)."""
    used = np.union1d(series.names[labels], series.values[labels])
    texts = [text.encode() for text in series.symbols.texts(used.tolist())]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    size = 1 + max(int(series.names.max(initial=0)), int(series.values.max(initial=0)))
    number_of = np.zeros(size, np.uint32)
    number_of[used[order]] = np.arange(used.size, dtype=np.uint32)
    return [texts[k] for k in order], number_of


def _places_within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1 … for each count."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if ends.size else 0) - np.repeat(ends - counts, counts)


def _put_section(file: File, at: int, body: bytes) -> int:
    """Length, body and checksum; the place behind."""
    if len(body) > 0xFFFFFFFF:
        raise StorageError(f"{file.path}: a section would be larger than 4 GiB: export shorter ranges of time")
    data = len(body).to_bytes(4, "big") + body + _checksum(body)
    write_all(file, data, at)
    return at + len(data)


def _checksum(data: bytes) -> bytes:
    return int(checksum(0, np.frombuffer(data, np.uint8))).to_bytes(4, "big")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
