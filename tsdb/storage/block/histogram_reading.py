"""Decoding chunks of blocks that have histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block import histogram_chunk_kernels
from tsdb.storage.block.chunk_kernels import SCRATCH_WORDS, SOUND
from tsdb.storage.block.histogram_chunk_kernels import PAYLOAD, SCRATCH
from tsdb.storage.block.layout import MAX_CHUNK_BYTES
from tsdb.storage.codecs.histogram_kernels import PADDING


@dataclass(frozen=True, slots=True)
class Decoded:
    """Samples of rows: those of row i are at begin[i]:end[i]."""

    begin: NDArray[np.int64]
    """i64[rows]"""
    end: NDArray[np.int64]
    """i64[rows]"""
    ts: NDArray[np.int64]
    """i64[], ms"""
    values: NDArray[np.uint64]
    """u64[]: bits of floats. A boxed value holds, instead of an offset, the address of its histogram in memory."""
    payload: NDArray[np.uint8] | None = None
    """u8[]: that memory. None: all samples are floats."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the chunks of rows are: row r has the ranges offsets[r]:offsets[r + 1], and range i the chunks
    begin[i]:end[i] of the block number block[i]."""

    columns: NDArray[np.uint64]
    """u64[blocks, COLUMNS]: `Block.columns` of each."""
    offsets: NDArray[np.int64]
    block: NDArray[np.int32]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


def decode_kinds(places: Places, first: int, past: int, mint: int, maxt: int, room: int,
                 ) -> tuple[Decoded, int, int, int]:
    """(the samples of the rows first:past with mint <= ts <= maxt, ms; SOUND, or what is wrong, and in which block and
    chunk). `room`: how many samples the chunks have."""
    header, copy = np.empty(24, np.uint8), np.empty(MAX_CHUNK_BYTES + PADDING, np.uint8)
    needs = np.empty(2, np.int64)
    begin, end = np.empty(past - first, np.int64), np.empty(past - first, np.int64)
    ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
    state, block, chunk = histogram_chunk_kernels.histogram_needs(
        places.columns, places.offsets, places.block, places.begin, places.end, first, past, header, copy, needs)
    payload = np.empty(int(needs[PAYLOAD]), np.uint8)
    if state == SOUND:
        state, block, chunk = histogram_chunk_kernels.decode_kinds(
            places.columns, places.offsets, places.block, places.begin, places.end, first, past, mint, maxt, header,
            np.empty(SCRATCH_WORDS, np.uint64), copy, np.empty(int(needs[SCRATCH]), np.uint64), payload,
            payload.__array_interface__["data"][0], begin, end, ts, values)
    return Decoded(begin, end, ts, values, payload if payload.size else None), state, block, chunk
