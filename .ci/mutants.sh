# Sourced by .ci/run: cargo-mutants changes one expression of ffi.rs or poll.rs at a time. For each
# change a test has to fail.

mutants() {
    command -v cargo-mutants || cargo install --locked cargo-mutants
    # The tests of the two files, less the slow ones. A mutant that makes poll wait for ever is caught by
    # the time limit.
    CARGO_PROFILE_DEV_DEBUG=0 cargo mutants --file src/ffi.rs --file src/poll.rs --jobs 2 --timeout 30 \
        --baseline skip --output "$work" --no-times --colors never \
        -- --lib -- abi poll readiness registration scripted triggers
}
