# METADATA
# title: Customer service agent
# description: |
#   What an agent that talks to customers may do: one endpoint, one model family, one approved system prompt, and
#   answers of bounded length. Bind it to an agent or a team with the effect `grant`.
#
#   How it is written, and why:
#   - `allow` lists what must hold. A condition that is undefined (a member missing from the input) does not hold.
#   - Only rules without arguments are negated. `not f(input.x)` is undefined when `input.x` is, and a denial that is
#     undefined does not deny; `not _rule` is true whenever the rule does not hold, for whatever reason.
#   - Rules whose names start with `_` are private: the gateway reads `allow`, `deny` and `obligations` and nothing else.
# authors:
#   - Support platform <support-platform@acme.example>
# entrypoint: true
package support.authz

import data.support.settings

default allow := false

# METADATA
# title: The request may go ahead
allow if {
	_chat
	_model_in_family
	_prompt_approved
}

# METADATA
# title: Only the chat endpoint
deny contains "only the chat endpoint is open to customer service agents" if not _chat

# METADATA
# title: Only one model family
deny contains msg if {
	_chat
	not _model_in_family
	msg := sprintf("the model must be %s or a dated release of it", [settings.model_family])
}

# METADATA
# title: Exactly one system prompt, and an approved one
# description: |
#   Developer messages and `instructions` count as system prompts too. Were two of them allowed, the second could take
#   back what the first says, so the request must carry one and no more.
deny contains "exactly one system prompt is required, and it must be an approved one" if {
	_chat
	not _prompt_approved
}

# METADATA
# title: Answers of bounded length
obligations := {"max_output_tokens": settings.max_output_tokens}

_chat if input.action == "chat.completions"

_model_in_family if input.resource.model == settings.model_family

# A dated release such as `gpt-4o-mini-2024-07-18`. Not any longer name: `gpt-4o-mini-realtime` is another product.
_model_in_family if {
	is_string(input.resource.model)
	prefix := concat("", [settings.model_family, "-"])
	startswith(input.resource.model, prefix)
	regex.match(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`, trim_prefix(input.resource.model, prefix))
}

_prompt_approved if {
	count(input.request.system_prompts) == 1
	some prompt in settings.approved_prompts
	prompt.sha256 == input.request.system_prompts[0]
}
