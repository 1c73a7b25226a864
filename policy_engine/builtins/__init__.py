"""The builtins, one file a family. Each family has a tuple `BUILTINS`; `TABLE` is all of them by name."""
