"""meta.json: what a block is and what it was made of, with Prometheus' fields."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tsdb.model.matchers import Matcher, MatchType

VERSION = 1

FROM_HEAD = "from-head"
OUT_OF_ORDER = "from-out-of-order"


@dataclass(frozen=True, slots=True)
class Stats:
    """What a block holds."""

    samples: int = 0
    series: int = 0
    chunks: int = 0
    histograms: int = 0
    """Samples that are histograms; 0: it has no chunk of them."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A block that was compacted into another one; times as in `BlockMeta`."""

    ulid: str
    mint: int
    maxt: int


@dataclass(frozen=True, slots=True)
class Compaction:
    """`level` 1: from the head. `sources`: level-1 blocks (ULIDs) whose data it has; `parents`: what it replaces."""

    level: int = 1
    sources: tuple[str, ...] = ()
    parents: tuple[Parent, ...] = ()
    hints: tuple[str, ...] = ()
    """FROM_HEAD: all in-order samples before `border` are in this block and others; OUT_OF_ORDER: only late ones."""
    windows: tuple[str, ...] = ()
    """Names of files of windows that it was cut from: removed, and where they are not yet, nobody reads them."""
    border: int | None = None
    """ms. Samples before it are not taken from the log or into the head's windows any more."""
    ranges: tuple[tuple[int, int], ...] = ()
    """(mint, maxt) of each of the `sources`, as in `BlockMeta`. Empty: not known, or it is its own source."""

    @property
    def out_of_order(self) -> bool:
        """In-order samples of other blocks win where times are equal."""
        return OUT_OF_ORDER in self.hints


@dataclass(frozen=True, slots=True)
class TierMeta:
    """What a block with windows of a downsampling tier says of them. Its range is mint = after + 1, maxt = through + 1:
    (after, through] in ms."""

    resolution_ms: int
    quantiles: tuple[float, ...] = ()
    matchers: tuple[Matcher, ...] = ()
    raw: tuple[str, ...] = ()
    """Level-1 blocks of samples (ULIDs) that overlapped its range when it was built."""
    left_out: int = 0
    """Series with samples in its range that it does not have."""


@dataclass(frozen=True, slots=True)
class BlockMeta:
    """A block: samples with mint <= ts < maxt (ms)."""

    ulid: str
    mint: int
    maxt: int
    stats: Stats = field(default_factory=Stats)
    compaction: Compaction = field(default_factory=Compaction)
    tier: TierMeta | None = None
    """Of a block of a downsampling tier; None: it has samples."""

    @property
    def source_ranges(self) -> dict[str, tuple[int, int]]:
        """mint <= ts < maxt (ms) of each level-1 block whose data it has; its own where more is not known."""
        sources, ranges = self.compaction.sources, self.compaction.ranges
        if len(ranges) == len(sources):
            return dict(zip(sources, ranges, strict=True))
        return dict.fromkeys(sources, (self.mint, self.maxt))

    def to_json(self) -> bytes:
        return json.dumps(self.document(), indent="\t").encode() + b"\n"

    def document(self) -> dict[str, Any]:
        """What meta.json says."""
        stats, compaction = self.stats, self.compaction
        made_of: dict[str, Any] = {"level": compaction.level, "sources": list(compaction.sources)}
        if compaction.hints:
            made_of["hints"] = list(compaction.hints)
        if compaction.windows:
            made_of["windows"] = list(compaction.windows)
        if compaction.border is not None:
            made_of["border"] = compaction.border
        if compaction.parents:
            made_of["parents"] = [
                {"ulid": each.ulid, "minTime": each.mint, "maxTime": each.maxt} for each in compaction.parents
            ]
        if compaction.ranges:
            made_of["ranges"] = [list(each) for each in compaction.ranges]
        held = {"numSamples": stats.samples, "numSeries": stats.series, "numChunks": stats.chunks}
        if stats.histograms:
            held |= {"numFloatSamples": stats.samples - stats.histograms, "numHistogramSamples": stats.histograms}
        document = {
            "ulid": self.ulid, "minTime": self.mint, "maxTime": self.maxt, "stats": held,
            "compaction": made_of, "version": VERSION,
        }
        if self.tier is not None:
            left_out = {"left_out": self.tier.left_out} if self.tier.left_out else {}
            document["tier"] = {**tier_key(self.tier.resolution_ms, self.tier.matchers, self.tier.quantiles),
                                "raw": list(self.tier.raw), **left_out}
        return document

    @classmethod
    def from_json(cls, data: bytes) -> BlockMeta:
        """Raises ValueError, KeyError or TypeError for what is no meta.json; `version` is the caller's to check."""
        document = json.loads(data)
        stats, made_of = document["stats"], document["compaction"]
        parents = tuple(
            Parent(str(each["ulid"]), int(each["minTime"]), int(each["maxTime"])) for each in made_of.get("parents", ())
        )
        return cls(
            str(document["ulid"]), int(document["minTime"]), int(document["maxTime"]),
            Stats(int(stats["numSamples"]), int(stats["numSeries"]), int(stats["numChunks"]),
                  int(stats.get("numHistogramSamples", 0))),
            Compaction(
                int(made_of["level"]), tuple(map(str, made_of["sources"])), parents,
                tuple(map(str, made_of.get("hints", ()))),
                tuple(map(str, made_of.get("windows", ()))),
                int(made_of["border"]) if "border" in made_of else None,
                tuple((int(mint), int(maxt)) for mint, maxt in made_of.get("ranges", ())),
            ),
            _tier(document["tier"]) if "tier" in document else None,
        )


def tier_key(resolution_ms: int, matchers: tuple[Matcher, ...], quantiles: tuple[float, ...]) -> dict[str, Any]:
    """What tells one downsampling tier from others, as JSON has it."""
    return {"resolution": resolution_ms, "quantiles": list(quantiles),
            "matchers": [[each.type.value, each.name, each.value] for each in matchers]}


def matchers_of(document: dict[str, Any]) -> tuple[Matcher, ...]:
    """Those of a `tier_key`. Raises ValueError, KeyError or TypeError for what is none."""
    return tuple(Matcher(MatchType(kind), str(name), str(value)) for kind, name, value in document["matchers"])


def _tier(document: dict[str, Any]) -> TierMeta:
    return TierMeta(int(document["resolution"]), tuple(map(float, document["quantiles"])), matchers_of(document),
                    tuple(map(str, document["raw"])), int(document.get("left_out", 0)))
