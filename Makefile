export UV_COMPILE_BYTECODE := 1
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

.PHONY: test check
test: .setup
	@.ci/tools
ifdef TESTS
	$(UV) run --locked pytest $(TESTS)
else
	# A journey that counts seconds runs alone; a patient one waits as long as it takes.
	$(UV) run --locked pytest -n logical --maxprocesses 4 --dist loadfile -m "(patient or not journey) and not container and not outage"
	$(UV) run --locked pytest -m "journey and not patient and not container and not outage"
endif

check: .setup
	$(UV) run --locked ruff check
	$(UV) run --locked ruff format --check
	$(UV) run --locked mypy
	$(UV) run --locked lint-imports
	$(UV) run --locked bandit -q -c pyproject.toml -r src benchmarks examples
	@.ci/secrets $(UV) run --locked

.PHONY: audit
audit: .setup
	@.ci/audit $(UV)

# The loop through as many seeds as there is time for; FIRST is the seed to begin with.
MINUTES ?= 60
FIRST ?= 0
.PHONY: simulate
simulate: .setup
	$(UV) run --locked python -m tests.simulation --minutes $(MINUTES) --first $(FIRST)

.PHONY: test-containers
test-containers: .setup
	@.ci/engine
	$(UV) run --locked pytest -m container tests/container

# Every fault against the whole tree, some twelve minutes; disks and clocks of its own need root and cc.
.PHONY: chaos soak
chaos: .setup
	$(UV) run --locked python -m benchmarks.chaos

# A week of traffic in minutes, and a log of five million rows: half an hour, 4 GB for a while.
soak: .setup
	$(UV) run --locked python -m benchmarks.soak

# Several processes on a real PostgreSQL that is killed, hangs and fails over; minutes.
.PHONY: test-outage
test-outage: .setup
	$(UV) run --locked pytest -m outage -rP tests

# The program into /opt/continual, the units and an example's configuration; DESTDIR is for packagers.
.PHONY: systemd
systemd: .setup
	UV_PROJECT_ENVIRONMENT=$(DESTDIR)/opt/continual UV_PYTHON_PREFERENCE=only-system \
	  $(UV) sync --locked --no-dev --all-extras --no-editable
	install -d $(DESTDIR)/etc/systemd/system $(DESTDIR)/etc/sysusers.d
	install -d -m 0755 $(DESTDIR)/etc/continual
	cp -R deploy/systemd/. $(DESTDIR)/etc/systemd/system/
	install -m 0644 deploy/sysusers.conf $(DESTDIR)/etc/sysusers.d/continual.conf
	test -e $(DESTDIR)/etc/continual/continual.toml || \
	  install -m 0644 examples/electricity/continual.toml $(DESTDIR)/etc/continual/continual.toml

.PHONY: .setup
.setup:
	@command -v $(UV) >/dev/null || { python3 -m venv .uv && .uv/bin/pip install uv; }

.PHONY: up
up: .setup
	$(UV) sync --locked --all-extras --no-dev
	$(UV) run --no-sync continual up --config examples/electricity/continual.toml --replay examples/electricity/electricity.csv.gz

.PHONY: docs
docs: .setup
	$(UV) run --locked --no-default-groups --group docs python -m docs.reference
	$(UV) run --locked --no-default-groups --group docs python -m docs.build
