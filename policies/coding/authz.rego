# METADATA
# title: Coding agent
# description: |
#   What a coding agent may do (Claude Code, Codex, Gemini CLI, opencode, aider, …): make texts with the models on a list,
#   count tokens, list models. Tools that the agent carries out itself are not limited here: no request of theirs passes
#   this gateway. Tools that the provider runs are. Bind it to an agent or a team with the effect `grant`.
# authors:
#   - Developer platform <developer-platform@acme.example>
# entrypoint: true
package coding.authz

import data.coding.settings

default allow := false

# METADATA
# title: Texts by models on the list
allow if {
	_makes_text
	_model_listed
	not _unlisted_server
}

# METADATA
# title: Lists of models, which hold only those that the agent may use
allow if input.action in {"models.list", "models.retrieve"}

# METADATA
# title: Only what coding agents need
deny contains "coding agents may make texts, count tokens and list models" if {
	not _makes_text
	not input.action in {"models.list", "models.retrieve"}
}

# METADATA
# title: Only models on the list
deny contains msg if {
	_makes_text
	not _model_listed
	msg := sprintf("coding agents may use these models: %s", [concat(", ", settings.models)])
}

# METADATA
# title: Only MCP servers on the list
deny contains "the provider must not connect to this MCP server" if _unlisted_server

# METADATA
# title: No hosted tools but those on the list, and answers of bounded length
obligations := {
	"strip_tools": {label |
		some tool in input.request.tools
		not _run_by_the_agent(tool.type)
		not tool.type in _server_types
		label := _label(tool)
		not label in settings.hosted_tools
	},
	"max_output_tokens": settings.max_output_tokens,
}

_makes_text if {
	input.action in {
		"messages",
		"messages.count_tokens",
		"responses",
		"responses.compact",
		"responses.input_tokens",
		"chat.completions",
		"generate_content",
		"generate_content.count_tokens",
	}
}

_model_listed if {
	is_string(input.resource.model)
	some pattern in settings.models
	glob.match(pattern, null, input.resource.model)
}

# A namespace is a list of functions, such as those of an MCP server that the agent itself is connected to. The patterns
# are tools that makers define and clients carry out.
_run_by_the_agent(type) if type in {"function", "custom", "namespace", "local_shell", "apply_patch"}

_run_by_the_agent(type) if glob.match("{bash,text_editor,memory}_2*", null, type)

# The second one names tools of a server that stands in the request as well, as the first one.
_server_types := {"mcp", "mcp_toolset"}

# Tools that the provider defines have no name.
_label(tool) := tool.name if tool.name != ""

_label(tool) := tool.type if tool.name == ""

_unlisted_server if {
	some tool in input.request.tools
	tool.type == "mcp"

	# With `tool.server` the condition would be undefined, and deny nothing, where nobody says where the server is.
	not object.get(tool, "server", "") in settings.mcp_servers
}
