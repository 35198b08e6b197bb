# Sourced by .ci/run: the files, the package, a copy of the two files.

# The exercises are no part of the package's targets.
format() {
    cargo fmt --check
    rustfmt --check --edition 2024 examples/exercises/{broken,solved}/*.rs
}

clippy() {
    cargo clippy --all-targets -- -D warnings
    cd examples/benchmarks
    cargo fmt --check
    CARGO_TARGET_DIR=$work/benchmarks cargo clippy --locked --all-targets --all-features -- -D warnings
}

scripts() {
    install shellcheck
    shellcheck --shell=bash --exclude=SC1091,SC2016,SC2154,SC2164 .ci/run .ci/*.sh
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
}

# Builds everything from the package as it would be published.
package() {
    [ "$(cargo tree --edges all | wc -l)" -eq 1 ] || fail "a dependency"
    export CARGO_TARGET_DIR=$work/package
    cargo package --allow-dirty
    cd "$CARGO_TARGET_DIR"/package/epollet-*/
    cargo check --all-targets
}

# copy COMPILER...: the README's program, the program in the shape of the book's (both have the two
# files as private modules), and a library that has them as public ones.
copy() {
    local edition build dir=$work/copy
    mkdir -p "$dir"
    cp src/ffi.rs src/poll.rs "$dir"
    sed -n '/^```rust$/,/^```$/p' README.md | sed '/^```/d' >"$dir/main.rs"
    echo 'pub mod ffi; pub mod poll;' >"$dir/lib.rs"
    for edition in 2021 2024; do
        build=("$@" --edition "$edition" -D warnings -D rust_2018_idioms)
        "${build[@]}" -o "$dir/main" "$dir/main.rs"
        "$dir/main" >"$dir/printed"
        printf 'Event { token: 0, events: EPOLLIN }\n5 bytes\n' | diff - "$dir/printed"
        "${build[@]}" --test -o "$dir/book" src/tests/book.rs
        "$dir/book"
        "${build[@]}" --crate-type lib -o "$dir/library" "$dir/lib.rs"
    done
}

# The counts do not depend on the machine's speed, so they can be held.
instruction_counts() {
    install valgrind
    cd examples/benchmarks
    export CARGO_TARGET_DIR=$work/benchmarks
    cargo test --locked # the ABI is that of the libc crate
    if [ "$(uname -m)" = x86_64 ]; then
        cargo run --locked --release --bin count -- --check
    fi
}
