# METADATA
# title: Tests of the starter policy
# description: |
#   A rule whose name starts with `test_` is a test: it passes if it is true. `with` replaces the input for one line.
#   Run them with `policy test .`; the gateway runs them too before it puts a commit into force.
package starter.authz_test

import data.starter.authz

_chat(model) := {"action": "chat.completions", "resource": {"model": model}}

test_listed_model_is_allowed if {
	authz.allow with input as _chat("gpt-4o-mini")
	authz.deny == set() with input as _chat("gpt-4o-mini")
}

test_other_model_is_denied_with_a_reason if {
	not authz.allow with input as _chat("o3")
	authz.deny == {"the model must be one of: gpt-4o, gpt-4o-mini"} with input as _chat("o3")
}

test_request_without_a_model_is_denied if {
	not authz.allow with input as {"action": "chat.completions"}
	count(authz.deny) == 1 with input as {"action": "chat.completions"}
}

test_answers_are_capped if {
	authz.obligations.max_output_tokens == 2048 with input as _chat("gpt-4o-mini")
}

test_models_may_be_listed if {
	authz.allow with input as {"action": "models.list"}
	authz.deny == set() with input as {"action": "models.list"}
}

test_other_ways_to_ask_a_model_are_the_same if {
	every action in {"responses", "messages", "generate_content"} {
		authz.allow with input as {"action": action, "resource": {"model": "gpt-4o"}}
		not authz.allow with input as {"action": action, "resource": {"model": "o3"}}
	}
}

test_anything_else_is_denied_with_a_reason if {
	not authz.allow with input as {"action": "embeddings", "resource": {"model": "gpt-4o-mini"}}
	count(authz.deny) == 1 with input as {"action": "embeddings", "resource": {"model": "gpt-4o-mini"}}
	not authz.allow with input as {}
	count(authz.deny) == 1 with input as {}
}
