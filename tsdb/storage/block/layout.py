"""Names, sizes and fixed parts of a block's files; docs/formats.md draws them."""

from __future__ import annotations

import struct

import numpy as np

META_NAME, INDEX_NAME, CHUNKS_NAME = "meta.json", "index", "chunks"
FILES = (META_NAME, INDEX_NAME, CHUNKS_NAME)
TEMPORARY = ".tmp"

INDEX_MAGIC, CHUNKS_MAGIC = b"TSDBINDX", b"TSDBDATA"
INDEX_VERSION, CHUNKS_VERSION = 3, 2
"""1: without dense chunks and columns of times. 2, of the index: postings and pairs of series are u32."""

HEADER = struct.Struct("<8sII")
"""magic, version, crc32c of both. Both files begin with it."""
INDEX_HEADER_BYTES = 64
CHUNKS_HEADER_BYTES = HEADER.size
ALIGNMENT = 64
PAGE = 1 << 14
"""Bytes of a section with a checksum of their own: they are checked when they are first touched."""

CONTENTS = struct.Struct("<26s6xqqQII")
"""ulid, mint, maxt, samples, crc32c of meta.json, bytes of a page."""
ENTRY = struct.Struct("<24s4sIQQ")
"""Of a section: name, dtype, crc32c of its pages' checksums, offset, length in bytes."""
FOOTER = struct.Struct("<QIIII8s")
"""Of the index: offset, length and crc32c of the table of contents, version, crc32c of all this, magic."""

META_COPY = "meta_json"
"""Section of the index with the text of meta.json, for where that is damaged. The first blocks have none."""
PAGE_CRC = "page_crc"
START_ROW, START_OFFSET, START_BYTES = "start_row", "start_offset", "start_bytes"
OPTIONAL = (START_ROW, START_OFFSET, START_BYTES)
"""Sections with start times of samples: where none has any, they are not there. What is damaged of them costs no
sample."""
SECTIONS: dict[str, tuple[str, ...]] = {
    "symbol_offset": ("<u4", "<u8"),
    "symbol_bytes": ("|u1",),
    "name_symbol": ("<u4",),
    "name_pair": ("<u4",),
    "pair_name": ("<u4",),
    "pair_value": ("<u4",),
    "posting_offset": ("<u4",),
    "posting": ("<u4", "<u2"),
    "label_offset": ("<u4",),
    "label_pair": ("<u4", "<u2"),
    "fingerprint": ("|u1",),
    "series_chunk": ("<u4",),
    "chunk_mint": ("<u4", "<u8"),
    "chunk_maxt": ("<u4", "<u8"),
    "chunk_offset": ("<u4", "<u8"),
    "chunk_samples": ("<u2",),
    "chunk_form": ("|u1",),
    "column_offset": ("<u4", "<u8"),
    "column_samples": ("<u2",),
    START_ROW: ("<u4",),
    START_OFFSET: ("<u4", "<u8"),
    START_BYTES: ("|u1",),
    PAGE_CRC: ("<u4",),
}
"""Sections of the index in their order, with the types that each may have."""
SINCE_2 = frozenset({"column_offset", "column_samples"})
"""Sections that indexes of version 1 do not have."""

FINGERPRINT_BYTES = 16
MAX_SAMPLES = (1 << 16) - 1
"""Of a chunk."""
MAX_CHUNK_BYTES = 1 << 20
MAX_ITEMS = (1 << 32) - 1
"""Labels, or chunks, of a block."""

KIND_FLOAT, KIND_HISTOGRAM = range(2)
CODEC_GORILLA, CODEC_DENSE, CODEC_HISTOGRAM, CODEC_RELATIVE = 1, 2, 3, 4
KINDS = {KIND_FLOAT: "floats", KIND_HISTOGRAM: "histograms"}
CODECS = {CODEC_GORILLA: "gorilla", CODEC_DENSE: "dense", CODEC_HISTOGRAM: "columns", CODEC_RELATIVE: "relative"}
"""What people call them."""


def form(kind: int, codec: int) -> int:
    """What a chunk is, in a byte: kind (0 … 7), codec (0 … 15). The highest bit is 0."""
    return kind | codec << 3


FLOATS = form(KIND_FLOAT, CODEC_GORILLA)
DENSE_FLOATS = form(KIND_FLOAT, CODEC_DENSE)
RELATIVE_FLOATS = form(KIND_FLOAT, CODEC_RELATIVE)
HISTOGRAMS = form(KIND_HISTOGRAM, CODEC_HISTOGRAM)


def narrowest(greatest: int) -> np.dtype[np.unsignedinteger]:
    """u32 where `greatest` fits, else u64."""
    return np.dtype(np.uint32 if greatest < 1 << 32 else np.uint64)


def shortest(greatest: int) -> np.dtype[np.unsignedinteger]:
    """u16 where `greatest` fits, else u32."""
    return np.dtype(np.uint16 if greatest < 1 << 16 else np.uint32)
