"""The service's own interface, version 1: what the addresses take and give."""
