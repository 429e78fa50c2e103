"""What goes on behind ingest: blocks are cut, compacted, cleaned, dropped and copied."""
