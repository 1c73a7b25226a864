# METADATA
# title: The demo's customer service agent
# description: One model, one approved system prompt, short answers.
# entrypoint: true
package support.authz

import data.support.settings

default allow := false

allow if {
	input.action == "chat.completions"
	_model_listed
	_prompt_approved
}

deny contains "this model is not open to customer service" if not _model_listed

deny contains "the system prompt is not an approved one" if not _prompt_approved

obligations := {"max_output_tokens": settings.max_output_tokens}

_model_listed if input.resource.model in settings.models

_prompt_approved if {
	count(input.request.system_prompts) == 1
	input.request.system_prompts[0] in settings.approved_prompts
}
