"""The registry at an earlier time, and compared with the log."""
