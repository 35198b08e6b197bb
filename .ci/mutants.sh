# Sourced by .ci/run: cargo-mutants changes one expression of ffi.rs or poll.rs at a time. For each
# change a test has to fail.

# On two cores it takes about 3 minutes, and 1 more to install, so it runs by hand:
#
#     bash .ci/run mutants

mutants() {
    command -v cargo-mutants || cargo install --debug --locked cargo-mutants
    # The fast tests of the two files: they take less than a second, so what runs for 5 s waits for ever.
    # Left out: `|` and `^` are the same for bits that have none in common.
    CARGO_PROFILE_DEV_DEBUG=0 cargo mutants --file src/ffi.rs --file src/poll.rs --jobs 2 --timeout 5 \
        --baseline skip --output "$work" --no-times --colors never \
        --exclude-re 'replace \| with \^ in Event::is_readable' --exclude-re 'poll.rs.* replace \| with \^$' \
        -- --lib -- abi poll readiness registration scripted triggers
}
