# make demo   trains LeNet on the embedded pictures (a fresh machine needs Python >= 3.11 and make)
# make test   format, lint, types and the whole suite, as CI runs it
# make install, make format, make clean

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
SOURCES_OF_BUILD := pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/pellucid/native/* src/pellucid/native/lanes/* \
                     src/pellucid/native/lanes/kernels/*)
# CI and a person at a terminal see the same suite; two workers, one torch thread each, suit a small machine.
# matplotlib keeps a list of the fonts that it once found: tests make their own, which knows the font just installed.
WORKERS ?= 2

.PHONY: demo install test check format clean

demo: install
	$(BIN)/pellucid train fashion-mnist-small --net lenet --set activation=relu --set pool=max --epochs 15

install: $(VENV)/.installed

test: $(VENV)/.installed-for-tests check
	MPLCONFIGDIR=$(abspath $(VENV))/matplotlib OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(VENV)/.installed-for-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	@sh scripts/make_venv.sh "$(PYTHON)" "$(VENV)"

$(VENV)/.installed: $(BIN)/python $(SOURCES_OF_BUILD)
	$(PIP) install --quiet -c constraints.txt -e '.[fast]'
	@touch $@

$(VENV)/.installed-for-tests: $(BIN)/python $(SOURCES_OF_BUILD) scripts/debian_packages.sh
	sh scripts/debian_packages.sh
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
