"""The log's names of changes in a body."""

from __future__ import annotations

USAGE_EDIT = "stream_options.include_usage"
CAP_EDIT = "max_output_tokens"
TOOLS_EDIT = "strip_tools"
MODEL_EDIT = "model"
