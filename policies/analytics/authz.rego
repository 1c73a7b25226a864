# METADATA
# title: Analytics agent
# description: |
#   What an agent that works for analysts may do: several chat models with read-only tools, embeddings, and both only
#   in working hours. Bind it to an agent or a team with the effect `grant`.
#
#   `allow` lists what must hold, only rules without arguments are negated, and rules whose names start with `_` are
#   private (the README of the bundle `support` says why).
# authors:
#   - Data platform <data-platform@acme.example>
# entrypoint: true
package analytics.authz

import data.analytics.settings

default allow := false

# METADATA
# title: Chat, with tools that only read
allow if {
	_chat
	_chat_model
	_tools_only_read
	_working_hours
}

# METADATA
# title: Embeddings
allow if {
	_embeddings
	_embedding_model
	_working_hours
}

# METADATA
# title: Only chat and embeddings
deny contains "analytics agents may chat and create embeddings, nothing else" if not _known_action

# METADATA
# title: Only listed chat models
deny contains "the model is not one of the chat models of analytics" if {
	_chat
	not _chat_model
}

# METADATA
# title: Only listed embedding models
deny contains "the model is not one of the embedding models of analytics" if {
	_embeddings
	not _embedding_model
}

# METADATA
# title: No tools that write
# description: |
#   A tool passes if it is a function that the settings list as `read`. That leaves out functions nobody reviewed, and
#   tools the provider runs itself: a hosted `code_interpreter` is not a function, whatever its name.
deny contains "only functions that are listed as read-only may be offered to the model" if {
	_chat
	not _tools_only_read
}

# METADATA
# title: Only in working hours
deny contains "outside of working hours" if not _working_hours

# METADATA
# title: Answers of bounded length
obligations := {"max_output_tokens": settings.max_output_tokens} if _chat

_chat if input.action == "chat.completions"

_embeddings if input.action == "embeddings"

_known_action if _chat

_known_action if _embeddings

_chat_model if input.resource.model in settings.chat_models

_embedding_model if input.resource.model in settings.embedding_models

# `every` is undefined when there is no list of tools at all, so an input without one does not pass.
_tools_only_read if {
	every tool in input.request.tools {
		tool.type == "function"
		settings.tools[tool.name] == "read"
	}
}

_working_hours if {
	input.time.zone == settings.working_hours.zone
	input.time.weekday in settings.working_hours.weekdays
	input.time.hour >= settings.working_hours.from
	input.time.hour < settings.working_hours.until
}
