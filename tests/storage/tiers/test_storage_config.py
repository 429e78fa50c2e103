"""The key `downsampling` of the config, and what storage gets of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tsdb
from tsdb import config
from tsdb.flags import Flags
from tsdb.model.durations import parse_duration
from tsdb.model.errors import ConfigError
from tsdb.server.effective import effective, retention, tiers
from tsdb.storage.tiers.rule import TierRule

DAY = 86_400_000


def rules(text: str) -> tuple[TierRule, ...]:
    return tiers(config.parse(text))


def test_tiers_of_a_file() -> None:
    found = rules("""
downsampling:
- {resolution: 5m, retention: 90d}
- {resolution: 1h, retention: 0, match: '{job="x"}', quantiles: [0.5, 0.99]}
""")
    assert [(rule.resolution_ms, rule.retention_ms, rule.quantiles) for rule in found] == [
        (300_000, 90 * DAY, ()), (3_600_000, 0, (0.5, 0.99))]
    assert [len(rule.matchers) for rule in found] == [0, 1]
    assert rules("downsampling: []") == rules("") == ()
    assert found[0].name == "5m" and found[1].name.startswith("1h-") and len(found[1].name) == 11


@pytest.mark.parametrize(("storage", "raw"), [
    ("", "7d"), ("storage: {tsdb: {retention: {time: 20d}}}", "20d"),
    ("storage: {tsdb: {retention: {size: 1GiB}}}", "0"),
])
def test_default(storage: str, raw: str) -> None:
    made = effective(config.parse(f"downsampling: default\n{storage}"), Flags())
    assert [rule.name for rule in tiers(made)] == ["1h", "1d"]
    assert [rule.retention_ms // DAY for rule in tiers(made)] == [30, 365]
    assert retention(made.storage).time_ms == parse_duration(raw)
    flags = Flags(retention_ms=3 * DAY)
    assert retention(effective(config.parse("downsampling: default"), flags).storage).time_ms == 3 * DAY


@pytest.mark.parametrize(("text", "problem"), [
    ("downsampling: [{resolution: 0, retention: 1d}]", "config:1:17: resolution must be greater than 0"),
    ("downsampling: [{resolution: 1h, retention: 1h}]", "config:1:33: retention must be longer than the resolution"),
    ("downsampling: [{resolution: 1h}]", 'the key "retention" is missing'),
    ("downsampling: [{resolution: 1h, retention: 1d, quantiles: [0.5, 2]}]", "config:1:65: a quantile must be"),
    ("downsampling: [{resolution: 1h, retention: 1d, match: '{'}]", "config:1:48: match: "),
    ("downsampling: [{resolution: 1h, retention: 1d}, {resolution: 60m, retention: 2d}]", "config:1:49: there is"),
    ("downsampling: often", "expected a list, got text"),
])
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as found:
        config.parse(text)
    assert problem in str(found.value)


@pytest.mark.parametrize(("rule", "lengths"), [
    (TierRule(3_600_000, 0), [1, 4, 16, 64, 256]), (TierRule(3_600_000, 30 * DAY), [1]),
    (TierRule(300_000, 0), [1, 4, 16]), (TierRule(DAY, 365 * DAY), [1, 4, 16]),
    (TierRule(7 * DAY, 0), [7, 28, 112, 448, 1792, 7168, 28672]),
])
def test_lengths_of_blocks(rule: TierRule, lengths: list[int]) -> None:
    assert [length // DAY for length in rule.lengths] == lengths
    assert TierRule(7 * 60_000, 0).unit_ms % (7 * 60_000) == 0


def test_the_library_takes_tiers(tmp_path: Path) -> None:
    tier = tsdb.DownsamplingTier("1h", "90d", quantiles=(0.5,))
    with tsdb.open(tmp_path, downsampling=[tier]) as db:
        assert [each.resolution_ms for each in db.storage.tiers().tiers] == [3_600_000]
    with tsdb.open(tmp_path, read_only=True) as db:
        assert [each.quantiles for each in db.storage.tiers().tiers] == [(0.5,)]
    with pytest.raises(ConfigError):
        tsdb.open(tmp_path, downsampling=[tsdb.DownsamplingTier("1h", "1h")])
