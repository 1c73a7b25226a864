package analytics.authz_test

import data.analytics.authz

_request := {
	"action": "chat.completions",
	"resource": {"model": "gpt-4o"},
	"request": {"tools": [{"type": "function", "name": "query_warehouse"}]},
}

test_request_with_a_read_only_tool_is_allowed if {
	authz.allow with input as _request
	authz.deny == set() with input as _request
}

test_models_may_be_listed if {
	authz.allow with input as {"action": "models.list"}
	authz.deny == set() with input as {"action": "models.list"}
}

test_other_model_is_denied if {
	request := object.union(_request, {"resource": {"model": "o3"}})
	not authz.allow with input as request
	authz.deny == {"this model is not open to analytics"} with input as request
}

test_other_actions_are_denied if {
	not authz.allow with input as object.union(_request, {"action": "embeddings"})
}

test_hosted_tool_is_denied if {
	request := object.union(_request, {"request": {"tools": [{"type": "web_search", "name": "query_warehouse"}]}})
	not authz.allow with input as request
}

test_tool_that_writes_is_denied if {
	request := object.union(_request, {"request": {"tools": [{"type": "function", "name": "drop_table"}]}})
	not authz.allow with input as request
	authz.deny == {"only tools that read may be offered to the model"} with input as request
}
