"""The dashboard: pages for people, which ask the same operations as programs do (dashboard.md)."""
