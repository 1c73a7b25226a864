"""Tests of policies, written in Rego: finding tests, running them, and reporting results.

Follows `opa test` (v1/tester). The caller decides which files are loaded.
"""
