"""The operations of the control API, one file a noun (control-api.md); `control/operations.py` finds them."""
