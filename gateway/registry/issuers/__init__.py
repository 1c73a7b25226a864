"""Outside issuers with their rules, and the names that organizations were given."""
