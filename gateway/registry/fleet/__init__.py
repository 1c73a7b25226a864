"""The registry as a file: reading one, comparing it with what there is, making it so, and writing it (docs/fleet.md)."""
