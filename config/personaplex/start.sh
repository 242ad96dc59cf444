#!/usr/bin/env bash
# Starts a PersonaPlex server, and the fence before it once the server answers. Ends when either of them ends, and then
# with a failure, so that whatever started this starts it again.
#
# HF_TOKEN      a token of Hugging Face whose account has accepted the licence of nvidia/personaplex-7b-v1
# FENCE_PORT    the port of the fence, 8999 without it (PORT counts before that: Railway sets it)
# FENCE_PREFIX  the path that callers have to know (haproxy.cfg)
# FENCE_TLS     "self-signed": TLS with a certificate that is made once and kept in FENCE_HOME; else as haproxy.cfg says
# MODEL_PORT    the port of the server itself, 8998 without it
# MODEL_OPTIONS further words for the server, such as --cpu-offload
set -euo pipefail
cd "$(dirname "$0")"

: "${HF_TOKEN:?accept the licence at https://huggingface.co/nvidia/personaplex-7b-v1 and set a token of that account}"
export MODEL_ADDRESS="127.0.0.1:${MODEL_PORT:-8998}"
export FENCE_ADDRESS="0.0.0.0:${PORT:-${FENCE_PORT:-8999}}"
export FENCE_PREFIX="${FENCE_PREFIX:-}" FENCE_TLS="${FENCE_TLS:-}"

# Says that nothing can be kept, before hours of downloads are lost.
for place in ${HF_HOME:+"$HF_HOME"} ${FENCE_HOME:+"$FENCE_HOME"}; do
  if ! mkdir -p "$place" 2>/dev/null || [ ! -w "$place" ]; then
    echo "$place cannot be written by user $(id -u): mount the volume for that user" >&2
    exit 1
  fi
done

# A key of this server alone, in the volume, so that its pin stays the same.
make_certificate() (
  umask 077
  mkdir -p "$1"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=personaplex \
    -keyout "$1/key.pem" -out "$1/cert.pem" 2>/dev/null
  cat "$1/cert.pem" "$1/key.pem" >"$1/new.pem"
  mv "$1/new.pem" "$1/fence.pem"
)

if [ "$FENCE_TLS" = self-signed ]; then
  home=${FENCE_HOME:-/data/fence}
  [ -s "$home/fence.pem" ] || make_certificate "$home"
  pin=$(openssl x509 -in "$home/fence.pem" -noout -pubkey | openssl pkey -pubin -outform der |
    openssl dgst -sha256 -binary | base64)
  echo "To be put behind the address of this server: #pin=sha256:$pin"
  export FENCE_TLS="ssl crt $home/fence.pem alpn http/1.1"
fi

# shellcheck disable=SC2086 # several words
"${PYTHON:-python3}" launch.py --host 127.0.0.1 --port "${MODEL_ADDRESS##*:}" --static none ${MODEL_OPTIONS:-} &
model=$!
fence=
# Ends both and then this, with that status. The fence takes nobody new, and calls end when the server ends them.
stop() {
  trap - TERM INT
  [ -z "$fence" ] || kill -USR1 "$fence" 2>/dev/null || true
  kill -TERM "$model" 2>/dev/null || true
  wait || true
  exit "$1"
}
trap 'stop 143' TERM INT

# Comes back when the rest of the words succeed, or ends with the process of this id.
until_so() {
  local process=$1 name=$2
  shift 2
  until "$@"; do
    kill -0 "$process" 2>/dev/null || { echo "$name has ended before it was ready" >&2; stop 1; }
    sleep 0.5 &
    wait $! || true
  done
}
model_answers() {
  [ "$(curl -s -o /dev/null -m 5 -w '%{http_code}' "http://$MODEL_ADDRESS/api/chat")" = 400 ]
}
fence_listens() {
  (exec 3<>"/dev/tcp/127.0.0.1/${FENCE_ADDRESS##*:}") 2>/dev/null
}

until_so "$model" "the model server" model_answers
"${HAPROXY:-haproxy}" -db -f haproxy.cfg &
fence=$!
until_so "$fence" "the fence" fence_listens
echo "the model server answers, and the fence is at $FENCE_ADDRESS"
wait -n "$model" "$fence" || true
echo "the model server or its fence has ended" >&2
stop 1
