# Sourced by .ci/run: the files as text, the package, and a copy of the two files.

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
}

# Code lines are neither blank nor comments.
code_lines() {
    local file
    at_most 110 src/ffi.rs
    at_most 165 src/poll.rs
    at_most 130 src/main.rs
    [ "$(wc -l <src/main.rs)" -le 180 ] || fail "src/main.rs has more than 180 lines"
    for file in src/program/*.rs; do
        at_most 110 "$file"
    done
    for file in src/delayserver/*.rs; do
        at_most 200 "$file"
    done
}

at_most() {
    local lines
    lines=$(grep -vcE '^\s*(//|$)' "$2")
    [ "$lines" -le "$1" ] || fail "$2 has $lines code lines, more than $1"
}

package() {
    cargo package --allow-dirty --no-verify --list | sort >"$work/list"
    expect "$work/list" src/poll.rs
    expect "$work/list" examples/delayserver.rs
    if grep -vE '^(Cargo\.(toml|toml\.orig|lock)|README\.md|LICENSE|\.cargo_vcs_info\.json|src/.*\.(rs|md|txt)|examples/[a-z_/]+\.rs)$' "$work/list"; then
        fail "this does not belong in the package"
    fi
    [ "$(cargo tree --edges all | wc -l)" -eq 1 ] || fail "a dependency"
    rustc -o "$work/one_file" examples/one_file.rs # as the README says, without cargo
}

# copy EDITION: the README's program and one in the shape of the book's build on the two files.
copy() {
    rustc --edition "$1" -D warnings --test --emit metadata -o "$work/book" src/tests/book.rs
    new_crate "$1" env
    cd "$work/copy-$1"
    cargo fmt --check
    cargo clippy -- -D warnings
}

# new_crate EDITION WITH: makes the crate and runs it with a compiler.
new_crate() {
    local dir=$work/copy-$1
    mkdir -p "$dir/src"
    printf '[package]\nname = "copy"\nversion = "0.1.0"\nedition = "%s"\n' "$1" >"$dir/Cargo.toml"
    cp src/ffi.rs src/poll.rs "$dir/src"
    sed -n '/^```rust$/,/^```$/p' README.md | sed '/^```/d' >"$dir/src/main.rs"
    (cd "$dir" && RUSTFLAGS="-D warnings" "$2" cargo run) | tee "$dir/log"
    expect "$dir/log" "Event { token: 0, events: EPOLLIN }"
}

# The counts do not depend on the machine's speed, so they can be checked.
benchmarks() {
    install valgrind
    cd examples/benchmarks
    export CARGO_TARGET_DIR=$work/benchmarks
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo test --locked
    cargo run --locked --release --bin count -- --check
}
