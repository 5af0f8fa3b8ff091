"""From a lab.toml to running processes, and back to nothing. Knows no bikes.

kernel: client -> supervisor: orders -> system -> service -> replica -> launcher: serve
"""
