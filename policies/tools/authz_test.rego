# METADATA
# title: Tests of the policy of tools
package tools.authz_test

import data.tools.authz

_call := {
	"action": "mcp.tools.call",
	"resource": {
		"upstream": "github",
		"provider": "mcp",
		"tool": {"server": "github", "name": "get_issue", "state": "pinned", "arguments": {"repo": "acme/app", "number": 7}},
	},
}

_with_tool(members) := object.union(_call, {"resource": {"tool": members}})

_with_arguments(arguments) := {
	"action": "mcp.tools.call",
	"resource": {
		"upstream": "github",
		"provider": "mcp",
		"tool": {"server": "github", "name": "get_issue", "state": "pinned", "arguments": arguments},
	},
}

_asking(action, more) := {"action": action, "resource": object.union({"upstream": "docs", "provider": "mcp"}, more)}

test_a_listed_tool_is_allowed if {
	authz.allow with input as _call
	authz.deny == set() with input as _call
	authz.limits.requests_per_minute == 120 with input as _call
}

test_arguments_must_begin_as_the_list_says if {
	every arguments in [{}, {"repo": "other/app"}, {"repo": "Acme/app"}, {"number": 7}] {
		not authz.allow with input as _with_arguments(arguments)
	}
	not authz.allow with input as _with_tool({"name": "create_issue"})
	authz.allow with input as _with_tool({"name": "create_issue", "arguments": {"repo": "acme/support"}})
}

test_other_tools_are_denied if {
	every members in [{"name": "delete_repo"}, {"server": "docs"}, {"server": "elsewhere"}] {
		not authz.allow with input as _with_tool(members)
		"this tool is not on the list" in authz.deny with input as _with_tool(members)
	}
}

test_a_changed_tool_is_denied if {
	authz.deny == {"the server has changed this tool"} with input as _with_tool({"state": "changed"})
}

test_a_tool_without_conditions if {
	authz.allow with input as _with_tool({"server": "docs", "name": "search", "arguments": {"q": "x"}})
}

test_what_belongs_to_a_connection if {
	every action in ["mcp.discover", "mcp.tools.list", "mcp.notify", "mcp.listen", "mcp.session.end"] {
		authz.allow with input as _asking(action, {})
		not authz.allow with input as _asking(action, {"upstream": "elsewhere"})
	}
	every action in ["mcp.prompts.get", "mcp.answer", "mcp.tasks.get", "chat.completions"] {
		not authz.allow with input as _asking(action, {})
	}
}

test_resources if {
	authz.allow with input as _asking("mcp.resources.list", {})
	authz.allow with input as _asking("mcp.resources.read", {"uri": {"text": "docs://handbook"}})
	not authz.allow with input as _asking("mcp.resources.read", {"uri": {"text": "file:///etc/passwd"}})
	not authz.allow with input as _asking("mcp.resources.read", {"upstream": "x", "uri": {"text": "docs://handbook"}})
}
