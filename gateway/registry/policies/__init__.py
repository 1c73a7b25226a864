"""The policies in force, and who is bound to them."""
