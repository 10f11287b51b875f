# SPDX-License-Identifier: GPL-2.0
#
# Everything that is done with a checkout is a target here; `make help` lists them. All but the targets that get KDIR= make
# their own environment when they first need it (root, and network to a Debian mirror and crates.io); see scripts/toolroot.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

top := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
# The series of kernels that all is for; without it, scripts/toolroot takes the newest. What was asked for by name is beside the
# rest, and so is, with DEBUG=1, what is for the debug kernel.
KERNEL ?= $(PINFS_KERNEL)
export PINFS_KERNEL := $(KERNEL)
build := $(top)/build$(if $(KERNEL),-$(KERNEL))$(if $(DEBUG),-debug)
cargo := $(top)/build/cargo
vm := $(top)/qemu/vm run $(if $(DEBUG),--debug)
jobs := -j$(shell nproc)

# The tool root, unless KDIR= names a prepared kernel tree: then this machine's own tools build against it. Objects of the
# two are kept apart, as they come from different compilers.
ifdef KDIR
$(if $(KERNEL),$(error KDIR= names a tree and KERNEL= a series of which one is made: give one of them))
enter :=
kernel := $(realpath $(KDIR))
source = $(kernel)/source
objects := native
$(if $(kernel),,$(error KDIR=$(KDIR): there is no such directory))
else
enter := $(top)/scripts/toolroot $(if $(DEBUG),--debug) run --
kernel := /kernel/build
source := /kernel/source
objects := module
endif
# $(call kbuild,SOURCES,OBJECTS): the kernel's build of a module.
kbuild = $(enter) $(top)/scripts/kbuild $(kernel) $(2) $(if $(DEBUG),LLVM=1) M=$(1) $(jobs) $(if $(V),V=$(V))

sources = find rust src tests tools -name '*.rs' -not -path '*/target/*' -print0

# With PLANT=, a target is made in a copy of the checkout that has this bug of tests/bugs/powerloss.
ifneq ($(PLANT),)
planted := $(build)/planted
goals := $(or $(MAKECMDGOALS),module)
.PHONY: plant $(goals)
$(goals): plant
	@+$(MAKE) --no-print-directory -C $(planted) PLANT= $@
plant:
	@$(enter) $(top)/tests/bugs/apply powerloss/$(PLANT) $(planted)
else

.PHONY: all
all: module ## build the module (the default)

# A tree that cannot do is told of at once, and not by what its build stumbles over.
.PHONY: fit
fit:
	@$(if $(KDIR),$(top)/scripts/check-tree $(KDIR))

.PHONY: kernels
kernels: ## list the series of kernels that the mirror has, and which are supported
	@$(top)/scripts/toolroot kernels

.PHONY: kernel-tree
kernel-tree: ## make a kernel tree that KDIR= can name, with all that a Rust module needs, and print its path
	@echo "$$($(top)/scripts/toolroot kernel)/build"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(top)/Makefile
	@echo '  make KDIR=DIR     build the module with this machine'\''s tools against the prepared kernel tree DIR'
	@echo '  KERNEL=SERIES     with any target: for this series of kernels, in build-SERIES/ and results-SERIES/'
	@echo '  PLANT=BUG         with any target: in a copy that has this bug of tests/bugs/powerloss, build/planted/'

.PHONY: module
module: fit ## build build/pinfs.ko
	@+$(call kbuild,$(top),$(build)/$(objects)) modules
	@# Without the debug information, which is ten times the rest and which insmod would have to read.
	@$(enter) strip --strip-debug -o $(build)/pinfs.ko $(build)/$(objects)/pinfs.ko

# The kernel's configuration of clippy; a warning of it, of rustc or of the C compiler is an error here.
.PHONY: clippy
clippy: fit ## check the module with clippy
	@+$(call kbuild,$(top),$(build)/clippy) CLIPPY=1 KRUSTFLAGS=-Dwarnings KCFLAGS=-Werror modules

.PHONY: fmt
fmt: ## format the Rust sources in the kernel's style
	@$(sources) | xargs -0r $(enter) rustfmt --edition 2021 --config-path $(source)/.rustfmt.toml

.PHONY: fmt-check
fmt-check: ## fail if `make fmt` would change anything
	@$(sources) | xargs -0r $(enter) rustfmt --edition 2021 --config-path $(source)/.rustfmt.toml --check

.PHONY: doc
doc: module ## write all documentation as HTML to build/doc, that of the source to build/doc/rust; a broken reference is an error
	@mkdir -p $(build)/doc
	@$(if $(KDIR),,$(top)/scripts/toolroot run-doc --) sphinx-build -q -W --keep-going -b html -d $(build)/doctrees $(top)/Documentation $(build)/doc
	@$(enter) $(top)/scripts/module-doc $(build)/$(objects) $(build)/doc/rust

.PHONY: selftests
selftests: module ## build the test programs that run in the guest
	@+$(enter) make --no-print-directory -C $(top)/selftests $(if $(V),,-s) $(jobs) $(if $(DEBUG),LLVM=1) OUT=$(build)/selftests KSRC=$(source)
	@# What the debug kernel can do by itself, for the others.
	@$(if $(DEBUG),,+$(call kbuild,$(top)/selftests/failnth,$(build)/failnth) -s modules)
	@$(if $(DEBUG),,cp -u $(build)/failnth/failnth.ko $(build)/selftests/)

.PHONY: tools
tools: ## build mkfs.pinfs and its like into build/bin
	@$(enter) cargo build --release --workspace --manifest-path $(top)/tools/Cargo.toml --target-dir $(cargo)
	@mkdir -p $(build)/bin
	@# A crate's programs cannot have a dot in their names, which mkfs(8) wants.
	@find $(cargo)/release -maxdepth 1 -type f -executable ! -name '*.so' -printf '%f\n' | while read -r name; do \
		cp -u $(cargo)/release/$$name $(build)/bin/$${name/%-pinfs/.pinfs}; done
	@for page in $(top)/tools/man/*; do mkdir -p $(build)/man/man$${page##*.} && cp -u $$page $(build)/man/man$${page##*.}/; done

.PHONY: judges
judges: ## build the outside judges that come from crates.io into build/judges
	@$(top)/scripts/make-crates $(top)/build/judges $(top)/tests/external/crates
	@$(if $(DEBUG),mkdir -p $(build) && cp -a $(top)/build/judges $(build)/)

.PHONY: test
test: ## build all, check it, and run every test; the last line is the count
	@$(top)/tests/run

.PHONY: test-kernel
test-kernel: ## test what depends on the kernel most; with KERNEL=, for a second one
	@$(top)/tests/run --kernel

.PHONY: debug
debug: ## run the same tests on a debug kernel (KASAN, lockdep, ...): 50 minutes a region; REGION= chooses; the kernel takes 20 minutes, once
	@$(top)/tests/run --debug $(REGION)

.PHONY: check-long
check-long: module tools selftests judges ## judge at length, for hours; PART= and REGION= choose, what is done is not repeated
	@DEBUG=$(DEBUG) $(top)/tests/long $(PART) $(REGION)

.PHONY: rows
rows: ## list the cases that show each row of the contract, and update Documentation/results/rows.md
	@$(top)/scripts/coverage-rows --list
	@$(top)/scripts/coverage-rows --update

.PHONY: proof
proof: ## update searches.md and bench.md in Documentation/results from the last long searches and benchmarks
	@$(top)/scripts/proof-table --update

.PHONY: run
run: module tools selftests ## show the main job in a guest
	@$(vm) -- sh /pinfs/selftests/demo.sh

# Three more regions of persistent memory, of 1 GiB each, and one for two files of 1 GiB, with gaps: or the kernel would
# make one of them. Beside them the guest has memory for twice 1 GiB, half of it in huge pages. A kernel that looks for a
# place of its own keeps out of four regions only, and the guest has one by default.
bench_regions := memmap=1G!4G memmap=1G!5248M memmap=1G!6400M memmap=2304M!7552M nokaslr

.PHONY: bench
bench: module tools selftests ## compare with ext4 and xfs in a guest; ROWS=create,mkdir for just these, COUNT=1 for a clock of instructions
	@$(vm) --memory 9 --copy-words --append "$(bench_regions)" $(if $(COUNT),--count) -- \
		env ROUNDS=$(or $(ROUNDS),9) sh /pinfs/selftests/bench.sh $(ROWS)
	@$(enter) $(top)/scripts/bench-report $(top)/results/bench.csv $(addprefix $(top)/results/bench$(if $(COUNT),-count),.md .svg)

.PHONY: shell
shell: module tools selftests ## a prompt in a guest
	@$(top)/qemu/vm shell

.PHONY: clean
clean: ## remove what was built and what tests have left: build*/ and results*/
	rm -rf $(top)/build $(wildcard $(top)/build-*) $(top)/results $(wildcard $(top)/results-*)

endif
