"""One file per revision, named `r<number>_<what>.py`, oldest first."""
