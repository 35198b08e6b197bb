# Sourced by .ci/run: the same code under valgrind and AddressSanitizer.

under_valgrind() {
    # valgrind runs one thread at a time. Without fair scheduling a waiting thread may starve.
    local tests memcheck=(valgrind --fair-sched=yes --error-exitcode=9 --leak-check=full
        --errors-for-leak-kinds=definite --track-fds=yes)
    tests=$(test_program --lib)
    # Left out: tests that need a large number of operations to show their fact.
    "${memcheck[@]}" "$tests" --test-threads=1 --skip thousand --skip five_hundred 2>&1 | tee "$work/valgrind.log"
    expect "$work/valgrind.log" "test result: ok."
    no_descriptor_left "$work/valgrind.log"
    alone "${memcheck[@]}" target/debug/epollet 2>&1 | tee "$work/valgrind.log"
    expect "$work/valgrind.log" "5 of 5 answered"
    no_descriptor_left "$work/valgrind.log"
}

# valgrind lists the descriptors that are open at the end; those that this program opened have a stack.
no_descriptor_left() {
    local left
    left=$(grep -A1 'Open .*file descriptor\|Open .*socket' "$1" | grep -c 'at 0x' || true)
    [ "$left" -eq 0 ] || fail "$left descriptors are left open"
}

under_address_sanitizer() {
    local target
    if ! rustup toolchain list 2>/dev/null | grep -q nightly; then
        echo "note: not run, it needs a nightly toolchain"
        return
    fi
    target=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$work/asan \
        cargo +nightly test --lib --target "$target" -- --skip five_hundred
}
