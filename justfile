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

# Formats all code.
fmt:
    cargo fmt --all

# The documentation of all crates, without a warning.
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps {{ARGS}}
