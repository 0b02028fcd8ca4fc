"""Lets any phone measure itself by opening a URL: server, tokens, quarantine, and the page that does the work."""
