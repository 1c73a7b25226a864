"""The registry: who exists, and who may do what (architecture.md, sections 9 and 10). A folder for each noun.

Each function that changes something is one transaction: the change, its history and its audit entry in the outbox are
committed together or not at all, and the triggers bump the epoch with them. When a function returns, the change is in
force for the next request in every worker. Its entry reaches the audit log by `outbox.drain`, which callers run
afterwards. `actor` says who does it: `local:<uid>` for the command line. `reason` says why, if somebody said.
"""
