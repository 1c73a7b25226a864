# METADATA
# title: Starter policy
# description: |
#   Your first policy. The gateway asks this package about every request of an agent that is bound to the bundle
#   `starter`. It sees the request as `input` and the contents of data.yaml as `data`, and it reads three answers:
#
#     allow        true, or the request is refused
#     deny         reasons to refuse it; any single one does, whatever `allow` says
#     obligations  changes the gateway makes to the request before it forwards it
#
#   Any other rule of this package must have a name that starts with `_`; otherwise the gateway refuses to guess.
# entrypoint: true
package starter.authz

import data.starter.settings

# Rules are undefined until something makes them true. This one starts as false, so that the answer is always clear.
default allow := false

# Several rules of one name are alternatives: the request may go ahead if all lines of one of them hold.
allow if {
	_asks_a_model
	_model_listed
}

allow if input.action in {"models.list", "models.retrieve"}

# A reason is for the developer who reads the refusal. Negate only rules without arguments, like `_model_listed`:
# `not f(input.x)` is undefined, and so denies nothing, when the input has no `x`.
deny contains msg if {
	_asks_a_model
	not _model_listed
	msg := sprintf("the model must be one of: %s", [concat(", ", settings.models)])
}

deny contains msg if {
	not allow
	not _asks_a_model
	msg := sprintf("the action must be one of: %s", [concat(", ", settings.actions)])
}

# An answer may not be longer than this. A request that asks for more, or sets no limit, is changed to it.
obligations := {"max_output_tokens": settings.max_output_tokens} if _asks_a_model

_asks_a_model if input.action in settings.actions

_model_listed if input.resource.model in settings.models
