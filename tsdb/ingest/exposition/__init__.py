"""What targets expose, to batches: text, OpenMetrics and protobuf, and what is remembered of a target between scrapes.

scrape_series.py is the way in.
"""
