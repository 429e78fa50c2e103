"""Relabeling: the rules that choose targets, series and alerts, and rewrite their labels."""
