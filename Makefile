# make run                       set up and run `python -m studies.run`
# make run ARGS="--data digits"  the same with arguments
# make test                      set up, check and test
#
# Both do all the set-up on a machine that has Python 3.11 or later, make and a C library, and are quick the second
# time: an environment is only touched after pyproject.toml or constraints.txt changed.

.PHONY: run test
.DELETE_ON_ERROR:

STAMPS := .venv/.snapnas
# Of the many thousand files installed few are ever imported, so they are compiled on import and not here; and kept
# compiled, even where containers forbid it, because many processes are started and each would compile torch again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := .venv/bin/python -m pip install --disable-pip-version-check --no-compile --constraint constraints.txt
ARGS ?=

run: $(STAMPS)/run
	.venv/bin/python -m studies.run $(ARGS)

test: $(STAMPS)/dev
	scripts/install_debian_packages
	scripts/install_browser_runtime
	scripts/check
	scripts/test

# `dev` installs what `run` needs too, so it satisfies both.
$(STAMPS)/dev: pyproject.toml constraints.txt scripts/create_venv
	scripts/create_venv
	@echo "installing SnapNAS, its libraries and the tools to test it (minutes, and some GB, the first time)"
	$(INSTALL) --editable '.[dev]'
	mkdir -p $(STAMPS)
	touch $(STAMPS)/run $@

$(STAMPS)/run: pyproject.toml constraints.txt scripts/create_venv
	scripts/create_venv
	@echo "installing SnapNAS and its libraries (minutes, and some GB, the first time)"
	$(INSTALL) --editable .
	mkdir -p $(STAMPS)
	touch $@
