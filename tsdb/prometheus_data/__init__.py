"""Prometheus' data directories: blocks and write-ahead log, to and from columns of samples.

The formats are documented in prometheus/prometheus, tsdb/docs/format; what these pages leave open is in its tsdb/index,
tsdb/chunkenc, tsdb/record and tsdb/wlog. All numbers are big-endian, checksums CRC-32C. Bytes come from outside:
lengths are checked before anything is read, and what does not match its checksum is an error (`Corruption`) that names
file and offset.
"""
