# The project's commands. Each first sets up .venv when it is missing or older than what it is made from.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
BIN := .venv/bin
READY := .venv/.ready
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c requirements/constraints.txt
# pip's own bar needs a terminal and its full log is long: what is downloaded and installed, and every error, is shown.
SHORT := awk '!/^ *(Requirement already|Obtaining|Looking in|Collecting|Using cached|Downloading .*\.metadata|Preparing|Getting|Checking|Created|Stored|Installing build)/ {print; fflush()}'

.PHONY: help demo test test-browser docs figures lint bench

help:
	@echo "make demo          pre-train, fine-tune, test and draw on data made on the spot (minutes, no download of data)"
	@echo "make test          lint, then every test"
	@echo "make test-browser  the report's viewer in Debian's chromium, with axe-core (installs both)"
	@echo "make docs          the documentation as a site, in site/; every warning is an error"
	@echo "make figures       draw the pictures of README.md and docs/ anew"
	@echo "make lint          ruff: rules and format"
	@echo "make bench         speed against plain PyTorch"

demo: $(READY)
	@$(BIN)/vdt3d demo

test: lint
	@$(BIN)/python -m pytest -rs --durations=10 -n logical --dist worksteal

test-browser: $(READY)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || apt-get install -y chromium chromium-driver
	@test -f node_modules/axe-core/axe.min.js || npm install --no-save --no-package-lock --silent axe-core
	@$(BIN)/python -m pytest -rs tests/browser

# The variable is the theme's own switch for a notice about mkdocs' future.
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# What README.md and docs/ show, drawn anew out of made-up data; wants Debian's chromium, as test-browser does.
figures: demo
	@cp work_dirs/demo/predictions.png docs/images/predictions.png
	@for script in docs/images/draw_*.py; do echo "$$script"; $(BIN)/python "$$script"; done

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

bench: $(READY)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

$(READY): setup.py $(wildcard requirements/*.txt)
	@found=; for python in $(PYTHONS); do \
		if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then \
		echo "No Python >= 3.11 with venv was found (tried: $(PYTHONS))." >&2; \
		echo "Install one, on Debian or Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Setting up .venv with $$("$$found" --version)"; "$$found" -m venv --clear .venv; fi
	@echo "Installing VDT3D and what it needs (PyTorch is the large part: minutes on the first run)"
	@$(PIP) -e '.[tests]' 2>&1 | $(SHORT)
	@if ! error=$$($(BIN)/python -c 'import cv2' 2>&1); then \
		case "$$error" in \
			*libGL.so*) echo "OpenCV needs the system library libGL: apt-get install libgl1" >&2 ;; \
			*libgthread*|*libglib*) echo "OpenCV needs the system library GLib: apt-get install libglib2.0-0" >&2 ;; \
			*) echo "$$error" >&2 ;; \
		esac; exit 1; fi
	@touch $@
