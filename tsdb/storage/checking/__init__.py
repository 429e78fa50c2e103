"""Checking a data directory: every file of every kind is read, and what is wrong is told in plain words."""

from tsdb.storage.checking.check import check_directory
from tsdb.storage.checking.findings import Finding, Report, Severity
from tsdb.storage.checking.repair import repair

__all__ = ["Finding", "Report", "Severity", "check_directory", "repair"]
