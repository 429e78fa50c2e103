"""Matchers over many label values."""

from tsdb.storage.regexes.value_filter import Texts, ValueFilter

__all__ = ["Texts", "ValueFilter"]
