# What a developer does every day; `just` alone lists it.
_list:
    @just --list --unsorted

# Everything that CI checks, without installing anything.
check:
    ./.ci/run --no-install

# Start the gateway with the development defaults.
run *ARGS:
    cargo run --locked -- serve {{ARGS}}

# Play a WAV file to the running gateway and write what it answers.
call IN OUT *ARGS:
    cargo run --locked -- call "{{IN}}" --out "{{OUT}}" {{ARGS}}

# Format every file.
fmt:
    cargo fmt --all
