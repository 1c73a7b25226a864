# METADATA
# title: Tests of the analytics agent's policy
package analytics.authz_test

import data.analytics.authz

_action_reason := "analytics agents may chat and create embeddings, nothing else"

_chat_model_reason := "the model is not one of the chat models of analytics"

_embedding_model_reason := "the model is not one of the embedding models of analytics"

_tools_reason := "only functions that are listed as read-only may be offered to the model"

_hours_reason := "outside of working hours"

# Wednesday, 10:00 UTC. Every test changes one thing about it.
_request := {
	"agent": {"name": "report-bot", "team": "analytics", "capabilities": ["chat", "embeddings"]},
	"action": "chat.completions",
	"resource": {"upstream": "openai", "provider": "openai", "model": "gpt-4o", "params": {}},
	"request": {
		"method": "POST",
		"path": "/v1/chat/completions",
		"tools": [{"type": "function", "name": "query_warehouse"}],
		"system_prompts": [],
	},
	"time": {"now_ns": 1772618400000000000, "zone": "UTC", "weekday": "Wednesday", "hour": 10},
}

_embedding := object.union(_request, {
	"action": "embeddings",
	"resource": {"model": "text-embedding-3-small"},
	"request": {"path": "/v1/embeddings", "tools": []},
})

_with_model(request, model) := object.union(request, {"resource": {"model": model}})

_with_tools(tools) := object.union(_request, {"request": {"tools": tools}})

_at(request, weekday, hour) := object.union(request, {"time": {"weekday": weekday, "hour": hour}})

test_chat_with_a_read_only_tool_is_allowed if {
	authz.allow with input as _request
	authz.deny == set() with input as _request
}

test_chat_without_tools_is_allowed if {
	authz.allow with input as _with_tools([])
}

test_chat_answers_are_capped if {
	authz.obligations == {"max_output_tokens": 4096} with input as _request
}

test_every_chat_model_is_allowed if {
	every model in ["gpt-4o", "gpt-4o-mini", "gpt-4.1"] {
		authz.allow with input as _with_model(_request, model)
	}
}

test_other_chat_models_are_denied if {
	every model in ["o3", "gpt-4o-2024-08-06", "GPT-4o", "text-embedding-3-small", "", null] {
		not authz.allow with input as _with_model(_request, model)
		authz.deny == {_chat_model_reason} with input as _with_model(_request, model)
	}
}

test_embeddings_are_allowed if {
	every model in ["text-embedding-3-small", "text-embedding-3-large"] {
		authz.allow with input as _with_model(_embedding, model)
		authz.deny == set() with input as _with_model(_embedding, model)
	}
}

test_embeddings_have_no_output_to_cap if {
	not authz.obligations with input as _embedding
}

test_other_embedding_models_are_denied if {
	every model in ["text-embedding-ada-002", "gpt-4o", "", null] {
		not authz.allow with input as _with_model(_embedding, model)
		authz.deny == {_embedding_model_reason} with input as _with_model(_embedding, model)
	}
}

test_other_actions_are_denied if {
	every action in ["models.list", "responses", "images", "", null] {
		not authz.allow with input as object.union(_request, {"action": action})
		authz.deny == {_action_reason} with input as object.union(_request, {"action": action})
	}
}

test_tools_that_write_are_denied if {
	every name in ["export_report", "update_dashboard"] {
		not authz.allow with input as _with_tools([{"type": "function", "name": name}])
		authz.deny == {_tools_reason} with input as _with_tools([{"type": "function", "name": name}])
	}
}

test_tools_nobody_reviewed_are_denied if {
	authz.deny == {_tools_reason} with input as _with_tools([{"type": "function", "name": "drop_table"}])
}

test_one_bad_tool_among_good_ones_is_denied if {
	tools := [
		{"type": "function", "name": "query_warehouse"},
		{"type": "function", "name": "export_report"},
		{"type": "function", "name": "list_tables"},
	]
	not authz.allow with input as _with_tools(tools)
	authz.deny == {_tools_reason} with input as _with_tools(tools)
}

test_hosted_tools_are_denied_whatever_their_name if {
	every tool in [
		{"type": "code_interpreter", "name": ""},
		{"type": "code_interpreter"},
		{"type": "web_search", "name": "query_warehouse"},
		{"name": "query_warehouse"},
	] {
		not authz.allow with input as _with_tools([tool])
		authz.deny == {_tools_reason} with input as _with_tools([tool])
	}
}

test_working_hours_are_half_open if {
	authz.allow with input as _at(_request, "Monday", 6)
	authz.allow with input as _at(_request, "Friday", 19)
	authz.deny == {_hours_reason} with input as _at(_request, "Monday", 5)
	authz.deny == {_hours_reason} with input as _at(_request, "Friday", 20)
}

test_weekends_are_denied if {
	every weekday in ["Saturday", "Sunday", "wednesday", ""] {
		not authz.allow with input as _at(_request, weekday, 10)
		authz.deny == {_hours_reason} with input as _at(_request, weekday, 10)
	}
}

test_embeddings_keep_working_hours_too if {
	not authz.allow with input as _at(_embedding, "Sunday", 10)
	authz.deny == {_hours_reason} with input as _at(_embedding, "Sunday", 10)
}

test_another_zone_is_not_converted_but_denied if {
	request := object.union(_request, {"time": {"zone": "Asia/Tokyo"}})
	not authz.allow with input as request
	authz.deny == {_hours_reason} with input as request
}

# An input that lacks a member must never read as one that passed the check of that member.

test_empty_input_is_denied if {
	not authz.allow with input as {}
	authz.deny == {_action_reason, _hours_reason} with input as {}
}

test_input_without_time_is_denied if {
	not authz.allow with input as object.remove(_request, ["time"])
	authz.deny == {_hours_reason} with input as object.remove(_request, ["time"])
}

test_input_without_request_is_denied if {
	not authz.allow with input as object.remove(_request, ["request"])
	authz.deny == {_tools_reason} with input as object.remove(_request, ["request"])
}

test_input_without_resource_is_denied if {
	not authz.allow with input as object.remove(_request, ["resource"])
	authz.deny == {_chat_model_reason} with input as object.remove(_request, ["resource"])
}

test_nothing_is_allowed_without_settings if {
	not authz.allow with input as _request with data.analytics.settings as {}
	not authz.allow with input as _embedding with data.analytics.settings as {}
	authz.deny[_hours_reason] with input as _request with data.analytics.settings as {}
}
