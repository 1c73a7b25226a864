# METADATA
# title: The organization's baseline
# description: |
#   What holds for every agent, whatever its own policy grants. Bind it to the organization with the effect `guard`:
#   then its denials and caps combine with every grant, and nothing here can permit anything (a guard's `allow` is not
#   read, so there is none).
#
#   How it is written, and why: a guard that is undefined does not deny. So each rule is of the form "deny unless it is
#   shown that …", `deny contains … if not _shown`, where `_shown` has no arguments and needs every member it looks at.
#   "Deny if the model is on the list" would let through a request whose model is missing.
# authors:
#   - Security <security@acme.example>
# entrypoint: true
package baseline.guard

import data.baseline.settings

# METADATA
# title: Only known actions
deny contains "the action is not one that agents of this organization may take" if not _known_action

# METADATA
# title: An agent needs the capability its action asks for
deny contains "the agent lacks the capability that this action asks for" if {
	_known_action
	not _capable
}

# METADATA
# title: Only providers with a data processing agreement
deny contains "the provider has no data processing agreement with this organization" if not _provider_cleared

# METADATA
# title: No blocked models
deny contains "the model is blocked in this organization" if {
	_known_action
	not _model_cleared
}

# METADATA
# title: Teams that are frozen in an incident
deny contains "the agent's team is frozen" if not _team_active

# METADATA
# title: Tools that the provider runs itself need a capability
deny contains "tools that the provider runs need the capability for hosted tools" if not _tools_cleared

# METADATA
# title: Answers of bounded length
obligations := {"max_output_tokens": settings.max_output_tokens}

_known_action if settings.actions[input.action]

_capable if settings.actions[input.action].capability == null

_capable if settings.actions[input.action].capability in input.agent.capabilities

_provider_cleared if input.resource.provider in settings.providers

_model_cleared if settings.actions[input.action].model == false

_model_cleared if {
	is_string(input.resource.model)
	every pattern in settings.blocked_models {
		not glob.match(pattern, null, input.resource.model)
	}
}

# Undefined, and so a denial, when the input has no team: `not` looks at a comparison only if its operands are there.
_team_active if not input.agent.team in settings.frozen_teams

_tools_cleared if {
	every tool in input.request.tools {
		tool.type == "function"
	}
}

_tools_cleared if settings.hosted_tools_capability in input.agent.capabilities
