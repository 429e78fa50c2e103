"""Codecs: samples to bytes and back. Each chunk names its own."""
