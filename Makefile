# ireko: everything a developer does. `make` builds, `make demo` shows it working, `make check` runs every test.
# Meson does the compiling; this file sets it up, so that no one has to know.
BUILD := build
PYTHON := /usr/bin/python3
PREFIX ?= /usr/local
export PATH := $(PATH):/usr/sbin:/sbin:$(CURDIR)/.cache/tools/bin

.PHONY: all demo demo-stop check check-builds check-clients check-cri check-crash check-fault check-mutations check-power check-vm bench bench-runtime bench-images bench-network bench-build bench-cri lint format fuzz install install-docker uninstall clean deps
all: $(BUILD)/build.ninja
	@tools/reconfigure $(BUILD)
	@ninja -C $(BUILD) $(NINJAFLAGS)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: run tools/deps first (make demo does)" >&2; exit 1; }
	meson setup $(BUILD) --prefix $(PREFIX)

deps:
	@tools/deps build run

demo: deps
	@$(MAKE) --no-print-directory all
	@tools/demo

demo-stop:
	@tools/demo stop

check:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/check $(CHECK)

check-mutations:
	@tools/deps build run test
	@tests/mutations/run $(if $(MUTATION),-k $(MUTATION))

check-clients:
	@tools/deps build run test clients
	@$(MAKE) --no-print-directory all
	@IREKO_CLIENTS=all $(PYTHON) tools/check $(or $(CHECK),tests/clients)

# Needs a clone of kubernetes-sigs/cri-tools: CRI_TOOLS=FOLDER, the first time.
check-cri:
	@tools/deps build run cri
	@$(MAKE) --no-print-directory all
	@tests/conformance/critest $(CRI)
	@$(if $(CRI),,tests/conformance/critest --websocket)
	@$(if $(CRI),,tests/conformance/crictl)

check-builds:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/check $(or $(CHECK),tests/builds)

check-fault:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all
	@IREKO_KILLS=$(or $(KILLS),500) IREKO_CYCLES=$(or $(CYCLES),10000) IREKO_PODS=$(or $(PODS),100) $(PYTHON) tools/check tests/fault/test_survival.py tests/fault/test_soak.py tests/fault/test_cri_survival.py

check-crash:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all
	@IREKO_CRASH_POINTS=$(or $(POINTS),200) $(PYTHON) tools/check tests/fault/test_crash.py tests/fault/test_build_crash.py tests/fault/test_network_survive.py

check-power:
	@tools/deps build run vm
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/power $(CUTS)

check-vm:
	@tools/deps build run vm
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/vm $(VM)

bench:
	@tools/deps build run bench
	@$(MAKE) --no-print-directory all
	@$(PYTHON) bench/engine $(BENCH)
	@$(if $(BENCH),,$(PYTHON) bench/runtime)
	@$(if $(BENCH),,$(PYTHON) bench/images)
	@$(if $(BENCH),,$(PYTHON) bench/network)
	@$(if $(BENCH),,$(PYTHON) bench/build)

bench-runtime:
	@tools/deps build run bench
	@$(MAKE) --no-print-directory all
	@$(PYTHON) bench/runtime $(BENCH)

bench-images:
	@tools/deps build run bench
	@$(MAKE) --no-print-directory all
	@$(PYTHON) bench/images $(BENCH)

bench-network:
	@tools/deps build run bench
	@$(MAKE) --no-print-directory all
	@$(PYTHON) bench/network $(BENCH)

bench-build:
	@tools/deps build run test bench
	@$(MAKE) --no-print-directory all
	@$(PYTHON) bench/build $(BENCH)

bench-cri:
	@tools/deps build run cri
	@$(MAKE) --no-print-directory all
	@$(PYTHON) bench/cri $(BENCH)

lint:
	@tools/deps build lint
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/lint

format:
	@tools/deps lint
	find src tools -name '*.[ch]' -print0 | xargs -0 clang-format -i

fuzz:
	@tools/deps build fuzz
	@$(PYTHON) tools/fuzz run $(FUZZ)

# DOCKER=1: under the name docker too, with its completions and manual pages.
SHARE = $(DESTDIR)$(PREFIX)/share
install: all
	meson install -C $(BUILD) --no-rebuild
	$(if $(DOCKER),@$(MAKE) --no-print-directory install-docker)

install-docker:
	ln -sf ireko $(DESTDIR)$(PREFIX)/bin/docker
	$(DESTDIR)$(PREFIX)/bin/docker completion bash >$(SHARE)/bash-completion/completions/docker
	$(DESTDIR)$(PREFIX)/bin/docker completion zsh >$(SHARE)/zsh/site-functions/_docker
	$(DESTDIR)$(PREFIX)/bin/docker completion fish >$(SHARE)/fish/vendor_completions.d/docker.fish
	cd $(SHARE)/man/man1 && for page in ireko*.1; do ln -sf $$page docker$${page#ireko}; done

uninstall:
	@[ "$$(readlink $(DESTDIR)$(PREFIX)/bin/docker)" != ireko ] || rm -f $(DESTDIR)$(PREFIX)/bin/docker \
		$(SHARE)/bash-completion/completions/docker $(SHARE)/zsh/site-functions/_docker \
		$(SHARE)/fish/vendor_completions.d/docker.fish $(SHARE)/man/man1/docker*.1
	ninja -C $(BUILD) uninstall

clean:
	@tools/demo remove
	rm -rf build build-asan build-fuzz
