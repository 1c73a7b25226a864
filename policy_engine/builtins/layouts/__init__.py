"""Times and durations as text, in the forms of Go's `time` package."""
