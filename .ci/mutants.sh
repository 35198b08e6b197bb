# Sourced by .ci/run: cargo-mutants changes one expression at a time. For each change a test has to fail.

mutants() {
    command -v cargo-mutants || cargo install --debug --locked cargo-mutants@27.1.0
    # The tests that take no time and catch every mutant: those on a scripted kernel, those of the
    # ABI, and one for a message.
    # Left out: `|` and `^` are the same for bits that have none in common.
    cargo mutants --file src/ffi.rs --file src/poll.rs --jobs 2 --timeout 20 --cargo-arg=--lib \
        --exclude-re 'replace \| with \^( in Event::is_readable)?$' \
        --output "$work" --no-times --colors never -- -- tests::scripted tests::abi a_capacity_of_zero
}
