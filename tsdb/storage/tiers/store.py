"""The folders of all tiers.

::

    <data>/tiers/raw.json                 from when on there are samples
    <data>/tiers/<name>/tier.json         what the tier is, and how long it is kept
    <data>/tiers/<name>/<ulid>/           blocks of windows
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.block import Block
from tsdb.storage.block.layout import INDEX_NAME
from tsdb.storage.block.meta import matchers_of, tier_key
from tsdb.storage.block.ulid import is_ulid
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import MISSING, Damage, Damaged
from tsdb.storage.tiers.rebuilding import clear
from tsdb.storage.tiers.rule import TierRule
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

log = logging.getLogger(__name__)

FOLDER = "tiers"
TIER_NAME, RAW_NAME = "tier.json", "raw.json"
VERSION = 1
EVER = -(1 << 63)


@dataclass(slots=True)
class StoredTier:
    """A tier that has a folder."""

    rule: TierRule
    blocks: Blocks
    """Of windows. They do not overlap."""
    wanted: bool = False
    """There is a rule for it: it is built further. Others are read, and kept for their retention."""


class TierStore:
    """Changed by the maintenance only; any thread reads. `lock` is the head's."""

    def __init__(self, fs: FileSystem, data: Path, lock: threading.Lock, damage: Damage, *, read_only: bool) -> None:
        """Opens the tiers that are there. Raises FormatTooNew, OSError."""
        self._fs = fs
        self.folder = data / FOLDER
        self._lock = lock
        self.damage = damage
        self._read_only = read_only
        self.tiers: tuple[StoredTier, ...] = ()
        """The finest first. Another tuple whenever one comes or goes."""
        self.raw_from = EVER
        """ms: samples before it may have been dropped for their age."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def follow(self, rules: Sequence[TierRule]) -> None:
        """Makes the folders of tiers that are new; others are built no further. OSError."""
        known = {tier.rule.name: tier for tier in self.tiers}
        for rule in rules:
            tier = known.get(rule.name)
            if tier is None:
                self._fs.mkdir(self.folder / rule.name)
                self._write(rule)
                tier = known[rule.name] = self._opened(rule)
            elif tier.rule != rule:
                self._write(rule)
                tier.rule = rule
        names = {rule.name for rule in rules}
        for name, tier in known.items():
            tier.wanted = name in names
        self.tiers = _sorted(known.values())

    def mend(self) -> None:
        """As of `Quarantine`. OSError."""
        for tier in self.tiers:
            for block in tier.blocks.every:
                if block.write_mended():
                    self.damage.is_mended(block.path / INDEX_NAME)

    def advance(self, raw_from: int) -> None:
        """Samples before `raw_from` (ms) are dropped next: durably. OSError."""
        if raw_from <= self.raw_from or not self.tiers:
            return
        document = {"version": VERSION, "from": raw_from}
        write_file_atomically(self._fs, self.folder / RAW_NAME, json.dumps(document).encode() + b"\n")
        self.raw_from = raw_from

    def forget(self, tier: StoredTier) -> None:
        """Removes the folder of a tier that is not wanted and has no blocks. OSError."""
        folder = self.folder / tier.rule.name
        self._fs.unlink(folder / TIER_NAME)
        self._fs.rmdir(folder)
        self._fs.sync_directory(self.folder)
        self.tiers = tuple(each for each in self.tiers if each is not tier)

    @property
    def bytes(self) -> int:
        return sum(block.bytes for tier in self.tiers for block in tier.blocks.every)

    def unchanged(self) -> bool:
        """As of `Blocks`."""
        return all(tier.blocks.unchanged() for tier in self.tiers)

    def close(self) -> None:
        for tier in self.tiers:
            tier.blocks.close()

    def _open(self) -> None:
        found, names = [], self._fs.listdir(self.folder)
        if RAW_NAME in names:
            self.raw_from = self._read_raw_from()
        for name in names:
            if "." not in name and (rule := self._read_rule(name)) is not None:
                found.append(self._opened(rule))
                self.tiers = _sorted(found)

    def _opened(self, rule: TierRule) -> StoredTier:
        if not self._read_only:
            clear(self._fs, self.folder / rule.name)
        damage = _OfWindows(self.damage, self.raw_from)
        blocks = Blocks.open(self._fs, self.folder / rule.name, self._lock, damage, read_only=self._read_only)
        return StoredTier(rule, blocks)

    def _write(self, rule: TierRule) -> None:
        document = {"version": VERSION, **tier_key(rule.resolution_ms, rule.matchers, rule.quantiles),
                    "retention": rule.retention_ms}
        write_file_atomically(self._fs, self.folder / rule.name / TIER_NAME,
                              json.dumps(document, indent="\t").encode() + b"\n")

    def _read_raw_from(self) -> int:
        path = self.folder / RAW_NAME
        try:
            document = json.loads(read_file(self._fs, path))
            _check_version(document, path)
            return int(document["from"])
        except (ValueError, KeyError, TypeError) as problem:
            self.damage.set_aside(path, Corruption(f"{path} is not readable ({problem}): queries take tiers where "
                                                    "they are exact, or are asked for"))
            return EVER

    def _read_rule(self, name: str) -> TierRule | None:
        """None: it is a folder without blocks."""
        path = self.folder / name / TIER_NAME
        try:
            document = json.loads(read_file(self._fs, path))
            _check_version(document, path)
            said = TierRule(int(document["resolution"]), int(document["retention"]), matchers_of(document),
                            tuple(map(float, document["quantiles"])))
            if said.name != name:
                raise ValueError(f"it is that of {said.name}")
            return said
        except FileNotFoundError:
            problem: Exception | str = "it is missing"
        except (ValueError, KeyError, TypeError) as failure:
            problem = failure
        blocks = [ulid for ulid in self._fs.listdir(self.folder / name) if is_ulid(ulid)]
        if not blocks:
            return None
        rule = self._rule_of(self.folder / name, blocks)
        if self._fs.exists(path):
            self.damage.set_aside(path, Corruption(f"{path} is not readable ({problem}): its blocks say what it said, "
                                                    "but for the retention"))
        if rule is not None and not self._read_only:
            self._write(rule)
        return rule

    def _rule_of(self, folder: Path, blocks: Sequence[str]) -> TierRule | None:
        """As the first sound block says; it is kept for ever then."""
        for ulid in blocks:
            try:
                block = Block.open(self._fs, folder / ulid)
            except Corruption:
                continue
            tier = block.meta.tier
            block.release()
            if tier is not None:
                rule = TierRule(tier.resolution_ms, 0, tier.matchers, tier.quantiles)
                if rule.name == folder.name:
                    return rule
        log.error("%s: nothing says which tier that is: it is left alone", folder)
        return None


class _OfWindows:
    """Damage of blocks of windows: those whose samples are there are built anew."""

    def __init__(self, damage: Damage, raw_from: int) -> None:
        self._damage, self._raw_from = damage, raw_from

    def set_aside(self, path: Path, problem: Exception, mint: int = 0, maxt: int = 0,
                  effect: str = MISSING) -> Damaged:
        if effect == MISSING:
            mint, maxt = (mint, min(maxt, self._raw_from)) if mint < self._raw_from else (0, 0)
        return self._damage.set_aside(path, problem, mint, maxt, effect)


def _check_version(document: dict[str, object], path: Path) -> None:
    version = document["version"]
    if isinstance(version, int) and version > VERSION:
        raise FormatTooNew(f"{path}: has format {version}, this tsdb reads up to {VERSION}: use a newer tsdb")


def _sorted(tiers: Iterable[StoredTier]) -> tuple[StoredTier, ...]:
    return tuple(sorted(tiers, key=lambda tier: (tier.rule.resolution_ms, tier.rule.name)))
