# METADATA
# title: Tools of MCP servers
# description: |
#   The tools that an agent may call through the gateway, by server, and what their arguments must begin with. Lists show
#   what is named here and no more. Bind it to an agent or a team with the effect `grant`.
# authors:
#   - Developer platform <developer-platform@acme.example>
# entrypoint: true
package tools.authz

import data.tools.settings

default allow := false

# METADATA
# title: Asking what a server offers, and what belongs to a connection
allow if {
	_known_server
	input.action in {"mcp.discover", "mcp.tools.list", "mcp.notify", "mcp.listen", "mcp.session.end"}
}

# METADATA
# title: Tools on the list, with arguments as it says
allow if {
	input.action == "mcp.tools.call"
	_listed
	every name, beginnings in _arguments {
		_begins(input.resource.tool.arguments[name], beginnings)
	}
}

# METADATA
# title: Resources below the listed ones
allow if {
	_known_server
	input.action in {"mcp.resources.list", "mcp.resources.read"}
	_readable
}

# METADATA
# title: No tool that is not on the list, whatever it is called with
deny contains "this tool is not on the list" if {
	input.action == "mcp.tools.call"
	not _listed
}

# METADATA
# title: No tool that is not as it was approved, even of a server that is trusted
deny contains "the server has changed this tool" if input.resource.tool.state == "changed"

limits := {"requests_per_minute": settings.requests_per_minute}

_known_server if input.resource.upstream in object.keys(settings.servers)

_listed if _arguments

_arguments := settings.servers[input.resource.tool.server][input.resource.tool.name]

_begins(value, beginnings) if {
	some beginning in beginnings
	startswith(value, beginning)
}

_readable if input.action == "mcp.resources.list"

_readable if {
	some beginning in settings.resources
	startswith(input.resource.uri.text, beginning)
}
