"""Operators: nodes of a running query, each with the series of its rows first and then their cells, tile by tile."""
