"""Outgoing HTTP: auth, TLS, proxies, and its config."""
