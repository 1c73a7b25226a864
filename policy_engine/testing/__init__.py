"""Tests of policies, written in Rego: what is a test, running them, and reporting what happened.

Follows `opa test` (v1/tester). Which files are loaded is not decided here but by the caller.
"""
