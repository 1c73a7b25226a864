"""Rego text to trees and back: `parser`, `nodes`, `visitor`, `printer`. The other files belong to the parser."""
