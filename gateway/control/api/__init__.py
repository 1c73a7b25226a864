"""The operations of the control API, one file a noun (docs/control-api.md); `control/operations.py` finds them."""
