# METADATA
# title: Tests of the organization's baseline
package baseline.guard_test

import data.baseline.guard

_action_reason := "the action is not one that agents of this organization may take"

_capability_reason := "the agent lacks the capability that this action asks for"

_provider_reason := "the provider has no data processing agreement with this organization"

_model_reason := "the model is blocked in this organization"

_team_reason := "the agent's team is frozen"

_tools_reason := "tools that the provider runs need the capability for hosted tools"

# A request that the baseline has nothing against. Every test changes one thing about it.
_request := {
	"agent": {"name": "support-bot", "team": "support", "capabilities": ["chat"]},
	"action": "chat.completions",
	"resource": {"upstream": "openai", "provider": "openai", "model": "gpt-4o-mini", "params": {}},
	"request": {
		"method": "POST",
		"path": "/v1/chat/completions",
		"tools": [{"type": "function", "name": "get_order"}],
		"system_prompts": [],
	},
}

_models_list := object.union(_request, {
	"action": "models.list",
	"resource": {"model": null},
	"request": {"method": "GET", "path": "/v1/models", "tools": []},
})

_with_model(model) := object.union(_request, {"resource": {"model": model}})

_with_capabilities(capabilities) := object.union(_request, {"agent": {"capabilities": capabilities}})

_with_hosted_tool(capabilities) := object.union(
	_with_capabilities(capabilities),
	{"request": {"tools": [{"type": "web_search", "name": ""}]}},
)

test_ordinary_request_is_not_denied if {
	guard.deny == set() with input as _request
}

test_listing_models_needs_no_capability_and_no_model if {
	guard.deny == set() with input as object.union(_models_list, {"agent": {"capabilities": []}})
}

test_a_guard_grants_nothing if {
	not guard.allow with input as _request
}

test_answers_are_capped if {
	guard.obligations == {"max_output_tokens": 8192} with input as _request
}

test_unknown_actions_are_denied if {
	every action in ["responses", "files.delete", "Chat.completions", "", null] {
		guard.deny == {_action_reason} with input as object.union(_request, {"action": action})
	}
}

test_missing_capability_is_denied if {
	guard.deny == {_capability_reason} with input as _with_capabilities([])
	guard.deny == {_capability_reason} with input as _with_capabilities(["embeddings", "Chat"])
}

test_each_action_has_its_own_capability if {
	embedding := object.union(_request, {"action": "embeddings", "resource": {"model": "text-embedding-3-small"}})
	guard.deny == {_capability_reason} with input as embedding
	guard.deny == set() with input as object.union(embedding, {"agent": {"capabilities": ["embeddings"]}})
}

test_other_providers_are_denied if {
	every provider in ["ollama", "OpenAI", "", null] {
		guard.deny == {_provider_reason} with input as object.union(_request, {"resource": {"provider": provider}})
	}
}

test_blocked_models_are_denied if {
	every model in ["gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-4.5-preview", "o1-preview"] {
		guard.deny == {_model_reason} with input as _with_model(model)
	}
}

test_models_beside_the_blocked_ones_pass if {
	every model in ["gpt-4o", "gpt-3.6-turbo", "o1-preview-final"] {
		guard.deny == set() with input as _with_model(model)
	}
}

test_model_that_is_no_string_is_denied if {
	every model in [null, 4, ["gpt-4o"]] {
		guard.deny == {_model_reason} with input as _with_model(model)
	}
}

test_frozen_team_is_denied if {
	guard.deny == {_team_reason} with input as _request
		with data.baseline.settings.frozen_teams as ["sales", "support"]
	guard.deny == set() with input as _request
		with data.baseline.settings.frozen_teams as ["sales"]
}

test_hosted_tools_need_their_capability if {
	guard.deny == {_tools_reason} with input as _with_hosted_tool(["chat"])
	guard.deny == set() with input as _with_hosted_tool(["chat", "hosted-tools"])
}

test_one_hosted_tool_among_functions_is_denied if {
	tools := [{"type": "function", "name": "get_order"}, {"type": "code_interpreter", "name": ""}]
	guard.deny == {_tools_reason} with input as object.union(_request, {"request": {"tools": tools}})
}

# Whatever is missing from the input, the rule that needed it denies.

test_empty_input_is_denied if {
	guard.deny == {_action_reason, _provider_reason, _team_reason, _tools_reason} with input as {}
}

test_input_without_agent_is_denied if {
	guard.deny == {_capability_reason, _team_reason} with input as object.remove(_request, ["agent"])
}

test_input_without_resource_is_denied if {
	guard.deny == {_provider_reason, _model_reason} with input as object.remove(_request, ["resource"])
}

test_input_without_request_is_denied if {
	guard.deny == {_tools_reason} with input as object.remove(_request, ["request"])
}

test_nothing_is_cleared_without_settings if {
	guard.deny == {_action_reason, _provider_reason, _team_reason} with input as _request
		with data.baseline.settings as {}
}
