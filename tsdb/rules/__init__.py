"""Rules: the files they are written in, and when they are evaluated."""

from tsdb.rules.config import Group, Rule, RuleFile
from tsdb.rules.files import load, load_text
from tsdb.rules.schedule import evaluation_times, offset_ms

__all__ = ["Group", "Rule", "RuleFile", "evaluation_times", "load", "load_text", "offset_ms"]
