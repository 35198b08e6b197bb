# Sourced by .ci/run: cargo-mutants changes one expression of ffi.rs or poll.rs at a time. For each
# change a test has to fail.

mutants() {
    local status=0
    command -v cargo-mutants || cargo install --debug --locked cargo-mutants
    # The tests on a scripted kernel and those of the ABI: they take 0.1 s and catch every mutant.
    # Left out: `|` and `^` are the same for bits that have none in common.
    cargo mutants --file src/ffi.rs --file src/poll.rs --jobs 2 --timeout 10 --cargo-arg=--lib \
        --exclude-re 'replace \| with \^( in Event::is_readable)?$' \
        --output "$work" --no-times --colors never -- -- tests::scripted tests::abi || status=$?
    # 3: some tests did not end, as where `poll` is made to call `epoll_wait` again and again.
    [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || fail "a mutant was missed"
}
