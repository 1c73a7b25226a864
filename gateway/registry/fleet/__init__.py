"""The registry as a file: reading it, comparing it, applying it and printing it (fleet.md)."""
