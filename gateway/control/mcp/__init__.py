"""The management API as tools of the Model Context Protocol, for editors and assistants of operators."""
