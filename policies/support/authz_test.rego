# METADATA
# title: Tests of the customer service agent's policy
package support.authz_test

import data.support.authz

_general_prompt := "b525abf8359690d17b12825eb0c414534053436f1d83cddb3180e6358b17e565"

_returns_prompt := "095a54f7cf689953cccb0800fc82c8fafcfef12b04967b95fbdb1a5014931f67"

_unknown_prompt := "0000000000000000000000000000000000000000000000000000000000000000"

_endpoint_reason := "only the chat endpoint is open to customer service agents"

_model_reason := "the model must be gpt-4o-mini or a dated release of it"

_prompt_reason := "exactly one system prompt is required, and it must be an approved one"

# A request that is fine. Every test changes one thing about it.
_request := {
	"agent": {"name": "support-bot", "team": "support", "capabilities": ["chat"]},
	"action": "chat.completions",
	"resource": {"upstream": "openai", "provider": "openai", "model": "gpt-4o-mini", "params": {}},
	"request": {
		"method": "POST",
		"path": "/v1/chat/completions",
		"stream": true,
		"max_output_tokens": 512,
		"tools": [],
		"roles": ["system", "user"],
		"messages": 2,
		"system_prompts": [_general_prompt],
	},
}

_with_model(model) := object.union(_request, {"resource": {"model": model}})

_with_prompts(prompts) := object.union(_request, {"request": {"system_prompts": prompts}})

test_approved_request_is_allowed if {
	authz.allow with input as _request
	authz.deny == set() with input as _request
}

test_every_approved_prompt_is_allowed if {
	authz.allow with input as _with_prompts([_general_prompt])
	authz.allow with input as _with_prompts([_returns_prompt])
}

test_answers_are_capped if {
	authz.obligations == {"max_output_tokens": 1024} with input as _request
}

test_dated_release_is_allowed if {
	authz.allow with input as _with_model("gpt-4o-mini-2024-07-18")
}

test_other_models_are_denied if {
	every model in [
		"gpt-4o",
		"gpt-4o-mini-realtime",
		"gpt-4o-mini-2024-07-18-evil",
		"gpt-4o-mini-",
		"2024-07-18",
		"gpt-4o-mini\n",
		"GPT-4o-mini",
		"ft:gpt-4o-mini:acme::abc123",
		"",
	] {
		not authz.allow with input as _with_model(model)
		authz.deny == {_model_reason} with input as _with_model(model)
	}
}

test_model_that_is_no_string_is_denied if {
	every model in [null, 4, ["gpt-4o-mini"], {"gpt-4o-mini": true}] {
		not authz.allow with input as _with_model(model)
		authz.deny == {_model_reason} with input as _with_model(model)
	}
}

test_other_endpoints_are_denied if {
	every action in ["models.list", "embeddings", "responses", "", null] {
		not authz.allow with input as object.union(_request, {"action": action})
		authz.deny == {_endpoint_reason} with input as object.union(_request, {"action": action})
	}
}

test_unapproved_prompt_is_denied if {
	not authz.allow with input as _with_prompts([_unknown_prompt])
	authz.deny == {_prompt_reason} with input as _with_prompts([_unknown_prompt])
}

test_missing_prompt_is_denied if {
	not authz.allow with input as _with_prompts([])
	authz.deny == {_prompt_reason} with input as _with_prompts([])
}

test_second_prompt_is_denied if {
	not authz.allow with input as _with_prompts([_general_prompt, _unknown_prompt])
	not authz.allow with input as _with_prompts([_unknown_prompt, _general_prompt])
	not authz.allow with input as _with_prompts([_general_prompt, _general_prompt])
}

# An input that lacks a member must never read as one that passed the check of that member.

test_empty_input_is_denied if {
	not authz.allow with input as {}
	authz.deny == {_endpoint_reason} with input as {}
}

test_input_without_resource_is_denied if {
	not authz.allow with input as object.remove(_request, ["resource"])
	authz.deny == {_model_reason} with input as object.remove(_request, ["resource"])
}

test_input_without_request_is_denied if {
	not authz.allow with input as object.remove(_request, ["request"])
	authz.deny == {_prompt_reason} with input as object.remove(_request, ["request"])
}

test_nothing_is_approved_without_settings if {
	not authz.allow with input as _request with data.support.settings as {}
	authz.deny[_prompt_reason] with input as _request with data.support.settings as {}
}
