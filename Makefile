# What there is to do here; `make` alone lists it. Works with GNU make 3.81 and later.

VENV ?= .venv
NOTEBOOKS ?= my-notebooks
PYTHON ?=
SEEDS ?= 5
PY = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed

.PHONY: help lab test test-places lint run seeds bench solar data links lock clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

lab: $(INSTALLED) data ## install what is missing, fetch the data, open your copies of the lessons in JupyterLab
	@set -e; set --; \
	$(if $(filter my-notebooks,$(NOTEBOOKS)),$(PY) -m helpers.copies;) \
	[ "$$(id -u)" != 0 ] || set -- "$$@" --allow-root; \
	[ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY$$BROWSER" ] || set -- "$$@" --no-browser; \
	echo "Opening JupyterLab; Ctrl-C ends it. If no browser opens, open the address that it prints:"; \
	exec $(PY) -m jupyterlab "$$@" --log-level=WARN --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/$(NOTEBOOKS)/00_start_here.ipynb $(JUPYTER_ARGS)

test: lint data ## run all tests
	@$(PY) -m pytest -n 2 --dist loadgroup

test-places: $(INSTALLED) data ## run every lesson wherever it is opened: Colab, Binder, odd folders … (PLACES="colab oldest" NB=03)
	@$(PY) tests/places.py $(PLACES) $(if $(NB),--lessons $(NB)) $(if $(SPREAD),--spread)

lint: $(INSTALLED) ## check style and spelling
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m codespell_lib

run: $(INSTALLED) data ## run every lesson in full and store its outputs and costs (NB=03: only that one)
	@$(PY) tests/run.py run $(NB)

seeds: $(INSTALLED) data ## run one lesson over several seeds and store what it measures (NB=03 SEEDS=5)
	@$(if $(NB),,echo "Which lesson? For example: make seeds NB=03 SEEDS=5" >&2; exit 2;) \
	$(PY) tests/run.py seeds $(NB) --seeds $(SEEDS)

bench: $(INSTALLED) data ## race lessons 6 and 8 against the book's recipes: accuracy and time, half an hour
	@$(PY) tests/bench.py

solar: $(INSTALLED) data ## measure lesson 7's table of solar cells anew, ten minutes or more
	@$(PY) tests/solar.py

data: $(INSTALLED) ## fetch the data that is not here yet
	@$(PY) -m helpers.data

links: $(INSTALLED) ## write the repository's address wherever it stands (REPO=owner/name)
	@$(PY) tests/links.py $(if $(REPO),--repo='$(REPO)')

lock: ## pin the newest versions that requirements.txt admits (needs uv)
	uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --group test \
		--custom-compile-command "make lock" --output-file requirements.lock requirements.txt

clean: ## remove the environment and what tools left; data, progress and your copies stay
	rm -rf .venv .ci-venv .places .pytest_cache .ruff_cache tests/output
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

# The environment: the locked packages, and a link to here by which lessons find helpers/ from any folder. The link is
# relative, because Python reads absolute ones (`pip install -e .`) in the locale's encoding, which may lack a folder's letters.
#
# Of the reader's settings of pip, those in the environment count that say where packages come from (as in helpers/data.py),
# and none that says where they go.
KEPT_OF_PIP = PIP_*INDEX*|PIP_FIND_LINKS|PIP_TRUSTED_HOST|PIP_*CERT|PIP_PROXY|PIP_*TIMEOUT|PIP_RETRIES|PIP_*CACHE*|PIP_CONFIG_FILE|PIP_KEYRING*
$(INSTALLED): requirements.lock pyproject.toml
	@set -e; \
	if $(PY) -m pip --version >/dev/null 2>&1 || { command -v uv && $(PY) --version; } >/dev/null 2>&1; then :; \
	elif command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$(or $(PYTHON),>=3.11,<3.14)" $(VENV); \
	else \
		right='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; \
		for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
			if $$python -c "$$right" 2>/dev/null; then break; fi; \
			python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo "Python 3.11, 3.12 or 3.13 is needed, and $(or $(PYTHON),python3) is none of them: $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
			echo "Install one and name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
			exit 1; \
		fi; \
		$$python -m venv --clear $(VENV); \
	fi; \
	if $(PY) -c 'import platform; exit((platform.system(), platform.machine()) != ("Darwin", "x86_64"))'; then \
		echo "TensorFlow is not made for Macs with an Intel processor, nor for a Python made for them." >&2; \
		echo "Open the lessons on a hosted service instead, such as Binder or Colab." >&2; \
		exit 1; \
	fi; \
	echo "Installing into $(VENV)"; \
	for name in $$(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do case $$name in $(KEPT_OF_PIP)) ;; *) unset $$name;; esac; done; \
	if command -v uv >/dev/null; then set -- uv pip install --compile-bytecode --python $(PY); \
	else set -- $(PY) -m pip install --disable-pip-version-check --no-user; fi; \
	"$$@" --require-hashes -r requirements.lock; \
	if ! $(PY) -c 'import importlib.util as u; exit(not u.find_spec("tensorflow"))'; then \
		echo "The packages are not in $(VENV): a setting of pip or uv sends them elsewhere." >&2; \
		echo "\`$(PY) -m pip config list\` shows those of pip; take away what it says of target, prefix or root." >&2; \
		exit 1; \
	fi; \
	$(PY) -c 'import os, sysconfig; site = sysconfig.get_path("purelib"); \
		print(os.path.relpath(".", site), file=open(os.path.join(site, "twelve-ideas.pth"), "w"))'; \
	touch $(INSTALLED)
