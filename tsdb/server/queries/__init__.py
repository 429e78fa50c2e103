"""Queries from their arrival to their end: which run, which ran when a process died, which cost most, and their log."""
