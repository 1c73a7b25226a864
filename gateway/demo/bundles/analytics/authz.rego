# METADATA
# title: The demo's analytics agent
# description: Several models, and only tools that read.
# entrypoint: true
package analytics.authz

import data.analytics.settings

default allow := false

allow if {
	input.action == "chat.completions"
	_model_listed
	_tools_only_read
}

allow if input.action == "models.list"

deny contains "this model is not open to analytics" if {
	input.action == "chat.completions"
	not _model_listed
}

deny contains "only tools that read may be offered to the model" if {
	input.action == "chat.completions"
	not _tools_only_read
}

_model_listed if input.resource.model in settings.models

_tools_only_read if {
	every tool in input.request.tools {
		tool.type == "function"
		tool.name in settings.read_only_tools
	}
}
