"""Keeps a deployed model right by itself."""

import os

# Since 1.29 ONNX Runtime counts sessions and reports them to its maker, unless this is set before
# its import. Children inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
