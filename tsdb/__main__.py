"""``python -m tsdb`` is ``tsdb``."""

from tsdb.cli import main

main()
