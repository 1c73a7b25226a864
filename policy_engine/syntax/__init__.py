"""Rego text to trees and back: `parser`, `nodes`, `visitor`, `printer`. The other files are the parser's own."""
