"""Downsampling tiers (`tsdb.model.tiers`): blocks whose series are fields of windows."""
