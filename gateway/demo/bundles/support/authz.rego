# METADATA
# title: The demo's customer service agent
# description: One model, one approved system prompt, short answers, and tools that change nothing.
# entrypoint: true
package support.authz

import data.support.settings

default allow := false

allow if {
	_chats
	_model_listed
	_prompt_approved
}

allow if input.action in {"mcp.discover", "mcp.tools.list", "mcp.notify"}

allow if {
	_calls_a_tool
	_tool_listed
}

deny contains "this model is not open to customer service" if {
	_chats
	not _model_listed
}

deny contains "the system prompt is not an approved one" if {
	_chats
	not _prompt_approved
}

deny contains "customer service may look at orders, not change them" if {
	_calls_a_tool
	not _tool_listed
}

obligations := {"max_output_tokens": settings.max_output_tokens} if _chats

_chats if input.action == "chat.completions"

_calls_a_tool if input.action == "mcp.tools.call"

_tool_listed if input.resource.tool.name in settings.tools

_model_listed if input.resource.model in settings.models

_prompt_approved if {
	count(input.request.system_prompts) == 1
	input.request.system_prompts[0] in settings.approved_prompts
}
