UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

.PHONY: test check
test: .setup
	$(UV) run --locked pytest

check: .setup
	$(UV) run --locked ruff check
	$(UV) run --locked ruff format --check
	$(UV) run --locked mypy
	$(UV) run --locked lint-imports

.PHONY: .setup
.setup:
	@command -v $(UV) >/dev/null || { python3 -m venv .uv && .uv/bin/pip install --quiet uv; }
