"""Alerts on their way to people. So far: what the config file says about it."""
