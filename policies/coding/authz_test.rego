# METADATA
# title: Tests of the coding agent's policy
package coding.authz_test

import data.coding.authz

_model_reason := concat("", [
	"coding agents may use these models: claude-haiku-*, claude-opus-*, claude-sonnet-*, ",
	"gemini-3.1-pro-preview, gemini-3.5-flash-lite, gpt-5.4-nano, gpt-5.5",
])

_action_reason := "coding agents may make texts, count tokens and list models"

# A request of Codex: its own tools, and a search that OpenAI carries out.
_request := {
	"agent": {"name": "dana-codex", "team": "platform", "capabilities": []},
	"action": "responses",
	"resource": {"upstream": "openai", "provider": "openai", "model": "gpt-5.5", "params": {}},
	"request": {
		"method": "POST",
		"path": "/v1/responses",
		"stream": true,
		"max_output_tokens": null,
		"tools": [
			{"type": "function", "name": "exec_command"},
			{"type": "custom", "name": "apply_patch"},
			{"type": "tool_search", "name": ""},
			{"type": "web_search", "name": ""},
		],
	},
}

_with_model(model) := object.union(_request, {"resource": {"model": model}})

_with_action(action) := object.union(_request, {"action": action})

_with_tool(tool) := object.union(_request, {"request": {"tools": [tool]}})

test_a_listed_model_is_allowed if {
	every model in ["gpt-5.5", "claude-sonnet-4-5", "claude-haiku-4-5-20251001", "gemini-3.5-flash-lite"] {
		authz.allow with input as _with_model(model)
		authz.deny == set() with input as _with_model(model)
	}
}

test_other_models_are_denied if {
	every model in ["gpt-5.5-pro", "gpt-5", "claude-fable-5", "xclaude-sonnet-4", "", null] {
		not authz.allow with input as _with_model(model)
		authz.deny == {_model_reason} with input as _with_model(model)
	}
}

test_every_api_of_these_agents_is_open if {
	every action in ["messages", "messages.count_tokens", "chat.completions", "generate_content", "responses.compact"] {
		authz.allow with input as _with_action(action)
	}
	every action in ["models.list", "models.retrieve"] {
		authz.allow with input as {"action": action, "resource": {"model": null}, "request": {"tools": []}}
	}
}

test_nothing_else_is if {
	every action in ["images.generations", "files.create", "embeddings", "responses.retrieve"] {
		not authz.allow with input as _with_action(action)
		_action_reason in authz.deny with input as _with_action(action)
	}
}

test_hosted_tools_are_taken_out if {
	authz.obligations.strip_tools == {"web_search"} with input as _request
	authz.obligations.strip_tools == {"googleSearch"} with input as _with_tool({"type": "googleSearch", "name": ""})
}

test_a_listed_hosted_tool_stays if {
	authz.obligations.strip_tools == set() with input as _request with data.coding.settings.hosted_tools as ["tool_search", "web_search"]
}

test_tools_of_the_agent_stay if {
	own := {"type": "function", "name": "web_search"}
	authz.obligations.strip_tools == set() with input as _with_tool(own)
}

test_a_plugin_goes_by_its_name if {
	authz.obligations.strip_tools == {"web"} with input as _with_tool({"type": "plugin", "name": "web"})
}

test_mcp_servers_of_the_provider_are_denied if {
	server := _with_tool({"type": "mcp", "name": "crm", "server": "https://tools.acme.example/mcp"})
	not authz.allow with input as server
	authz.deny == {"the provider must not connect to this MCP server"} with input as server
	authz.allow with input as server with data.coding.settings.mcp_servers as ["https://tools.acme.example/mcp"]
	not authz.allow with input as server with data.coding.settings.mcp_servers as ["crm"]
}

test_mcp_servers_that_nobody_places_are_denied if {
	somewhere := _with_tool({"type": "mcp", "name": "crm"})
	authz.deny == {"the provider must not connect to this MCP server"} with input as somewhere
}

test_tools_that_makers_define_and_agents_run_stay if {
	every type in ["local_shell", "apply_patch", "bash_20250124", "text_editor_20250728", "memory_20250818"] {
		authz.obligations.strip_tools == set() with input as _with_tool({"type": type, "name": ""})
	}
	authz.obligations.strip_tools == {"code_execution"} with input as _with_tool({"type": "code_execution_20250825", "name": "code_execution"})
}

test_answers_are_capped if {
	authz.obligations.max_output_tokens == 64000 with input as _request
}
