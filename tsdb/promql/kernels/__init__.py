"""The compiled loops of queries: over samples of tiles, cells of rows, and label sets."""
