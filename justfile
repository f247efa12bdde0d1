# The commands of a working day. `just check` is what CI runs.

# Lists these commands.
default:
    @just --list

# Everything that CI checks: format, clippy, documentation, tests, a short demonstration.
check:
    .ci/run

# All tests.
test *ARGS:
    cargo test --workspace {{ARGS}}

# A million delayed jobs through a real engine, and the account of them. Kill it and start again.
demo *ARGS:
    cargo run --release --bin tickwheel -- demo {{ARGS}}

# The benchmarks, all or one: `just bench --bench wheel`.
bench *ARGS:
    cargo bench -p tickwheel-bench {{ARGS}}

# A Tickwheel server beside other work queues, each once in each round; writes the table of docs/benchmarks.md.
# What is not installed (Debian: beanstalkd, redis-server, postgresql, nodejs, npm) is named as not measured.
peers *ARGS:
    cargo build --release --bin tickwheel
    cd bench/peers && cargo build --release -p tickwheel-peers-systems -p tickwheel-peers-libraries
    -cd bench/peers/systems/node && npm install --no-package-lock --no-audit --no-fund
    cd bench/peers && target/release/peers-systems --write ../../docs/benchmarks.md {{ARGS}}

# Adds a line for a release to docs/benchmarks/trend.csv: `just trend 0.1.0`.
trend RELEASE:
    cargo build --release -p tickwheel-loadgen
    target/release/tickwheel-loadgen trend --release {{RELEASE}} --file docs/benchmarks/trend.csv

# Formats all code.
fmt:
    cargo fmt --all

# The documentation of all crates, without a warning.
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps {{ARGS}}
