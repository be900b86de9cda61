# What a person runs; everything here can also be run without make.

# Where rustup puts cargo, for shells that do not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help setup demo install deb check test faults fuzz test-clients test-kafka test-compose test-page bench

help:
	@echo 'make demo    set up, build, and run generator, log, sink and a private PostgreSQL (ARGS=... is added)'
	@echo 'make install install bekk, man pages, completions and systemd units (PREFIX=/usr/local, or ~/.local)'
	@echo 'make deb     build a Debian package (needs cargo-deb)'
	@echo 'make check   check format and lints, run the unit tests: before each commit'
	@echo 'make test    set up, check format and lints, run all tests'
	@echo 'make faults  a fault at every request that a sink makes of PostgreSQL, and that ingest and sink make of a'
	@echo '             served log, every file of a log damaged in every way, one at a time, a log that knows a'
	@echo '             million files, and files changed during system calls of ingest (an hour; needs strace)'
	@echo 'make fuzz    run every fuzz target for a minute (ARGS="600 log/requests": that one for ten; needs cargo-fuzz)'
	@echo 'make test-clients   run the served log against Kafka clients, and Bekk on a broker that is not its own'
	@echo 'make test-kafka     run ingest and sinks on Apache Kafka, killed and restarted (needs Java; ARGS=storm: only that)'
	@echo 'make test-compose   build the image, run docker-compose.yml and kill its containers (needs a Docker engine)'
	@echo 'make test-page   drive the page of a real pipeline in headless Chromium (DIR=... keeps pictures of every view)'
	@echo 'make bench   set up, and measure against psql \copy (ARGS=served, memory, kills: the others)'
	@echo 'make setup   install what is missing to build and run: PostgreSQL, a C linker'

setup:
	@sh scripts/setup.sh

demo:
	@sh scripts/demo.sh $(ARGS)

install:
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) sh scripts/install.sh

deb:
	@sh scripts/deb.sh

check:
	@sh scripts/check.sh

test:
	@sh scripts/test.sh

faults:
	BEKK_TEST_ALL_FAULTS=1 cargo test --locked --package bekk-sink --test it -- --nocapture faults::
	BEKK_TEST_ALL_FAULTS=1 cargo test --locked --package bekk-log --test it -- --nocapture every_file::
	BEKK_TEST_ALL_FAULTS=1 cargo test --locked --package bekk --test it -- --nocapture memory::files_that_are_gone
	BEKK_TEST_ALL_FAULTS=1 cargo test --locked --package bekk --test it -- --nocapture served_faults::
	cargo test --locked --package bekk --test it -- --nocapture --ignored file_faults::

fuzz:
	@sh scripts/fuzz.sh $(ARGS)

test-clients:
	@sh scripts/test-clients.sh

test-kafka:
	@sh scripts/test-kafka.sh $(ARGS)

test-compose:
	@sh scripts/test-compose.sh

test-page:
	@sh scripts/test-page.sh $(DIR)

bench:
	@sh scripts/bench.sh $(ARGS)
