"""A child on a kernel that offers neither Landlock nor a network namespace."""

from __future__ import annotations

from converters import child, confine

if __name__ == "__main__":
    confine.abi = lambda: 0
    confine.leave_network = lambda: False
    child.serve()
