package support.authz_test

import data.support.authz
import data.support.settings

_request := {
	"action": "chat.completions",
	"resource": {"model": "gpt-4o-mini"},
	"request": {"system_prompts": [settings.approved_prompts[0]]},
}

test_approved_request_is_allowed if {
	authz.allow with input as _request
	authz.deny == set() with input as _request
}

test_other_model_is_denied if {
	request := object.union(_request, {"resource": {"model": "gpt-4o"}})
	not authz.allow with input as request
	authz.deny == {"this model is not open to customer service"} with input as request
}

test_other_prompt_is_denied if {
	request := object.union(_request, {"request": {"system_prompts": ["00"]}})
	not authz.allow with input as request
	authz.deny == {"the system prompt is not an approved one"} with input as request
}

test_second_prompt_is_denied if {
	prompts := [settings.approved_prompts[0], settings.approved_prompts[0]]
	not authz.allow with input as object.union(_request, {"request": {"system_prompts": prompts}})
}

test_answers_are_capped if {
	authz.obligations == {"max_output_tokens": 256} with input as _request
}

test_a_listed_tool_is_allowed if {
	request := {"action": "mcp.tools.call", "resource": {"tool": {"name": "get_order"}}}
	authz.allow with input as request
	authz.deny == set() with input as request
}

test_another_tool_is_denied if {
	request := {"action": "mcp.tools.call", "resource": {"tool": {"name": "cancel_order"}}}
	not authz.allow with input as request
	authz.deny == {"customer service may look at orders, not change them"} with input as request
}

test_tools_are_listed_for_everybody_here if {
	authz.allow with input as {"action": "mcp.tools.list"}
}

test_other_actions_are_denied if {
	not authz.allow with input as object.union(_request, {"action": "embeddings"})
}
