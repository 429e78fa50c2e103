"""Restart: what a start takes over, from a clean stop or from a crash."""
