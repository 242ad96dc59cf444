"""Writes what a PersonaPlex server writes, and worse, with a prompt that must not be seen. The first word says what to do."""

import asyncio
import atexit
import logging
import os
import signal
import socket
import subprocess
import sys

PROMPT = "You know Planted Maria.\nShe has a Planted Diagnosis.\naccepted connection"


def colorize(text, color):
    return f"\033[{color}m{text}\033[0m"


def log(level, message, color="93"):
    heads = {"warning": ("[Warn]", "1;31"), "error": ("[Err ]", "1;31")}
    text = colorize(message, color) if level == "info" else colorize(*heads[level]) + " " + message
    print(colorize("[A1B2] ", color) + text)


def load():
    logger = logging.getLogger("moshi.server")
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger.addHandler(handler)
    print(f"arguments: {sys.argv[1:]}")
    print("some library warns of something", file=sys.stderr)
    logger.info("loading moshi")
    return logger


def listen(logger):
    logger.info("Access the Web UI directly at https://10.0.0.7:8998")
    listener = socket.create_server(("127.0.0.1", 0))
    print("======== Running on https://0.0.0.0:8998 ========\n(Press CTRL+C to quit)")
    return listener


def chat():
    log("info", "Incoming connection from 10.0.0.9:51234")
    log("info", "accepted connection")
    log("info", f"text prompt: {PROMPT}")
    log("info", "voice prompt: /voices/NATF0.pt (requested: /voices/NATF0.pt)")
    print("Done loading text prompt.")
    log("info", "done with system prompts")
    log("warning", "unknown message kind 9")
    log("error", f"Planted words of an exception: {PROMPT}")
    log("info", "session closed")


def fail():
    quoted = PROMPT.replace(" ", "+").replace("\n", "%0A")
    access = f'10.0.0.9 [10/Oct/2025:13:55:36 +0000] "GET /api/chat?text_prompt={quoted}&voice_prompt=NATF0.pt HTTP/1.1" 101 0'
    logging.basicConfig(level=logging.DEBUG, format="%(message)s")
    logging.getLogger("aiohttp.access").info(access)
    try:
        raise ValueError(f"cannot be encoded: {PROMPT}")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request")

    async def lost():
        raise RuntimeError(PROMPT)

    async def forget():
        task = asyncio.create_task(lost())
        await asyncio.sleep(0)
        del task

    asyncio.run(forget())
    os.write(2, f"a library in C knows {PROMPT}\n".encode())
    os.write(1, b"Planted " * 9000 + b"\n")
    subprocess.run([sys.executable, "-c", "print('a child knows Planted Maria')"], check=True)
    print("half a line of Planted Maria, and then ", end="")


def main():
    logger = load()
    what = sys.argv[1]
    if what == "odd":
        # It listens in a way that nobody knows of.
        chat()
        print("connection closed")
        return
    if what == "early":
        print("waiting for a signal")
        signal.pause()
    if what == "taken":
        # As asyncio says it.
        first = socket.create_server(("127.0.0.1", 0))
        taken = first.getsockname()
        try:
            socket.create_server(taken)
        except OSError as error:
            reason = f"error while attempting to bind on address {taken!r}: {os.strerror(error.errno).lower()}"
            raise OSError(error.errno, reason) from None
    if what == "tidy":
        atexit.register(lambda: os.write(1, b"session closed\n"))
        return
    listener = listen(logger)
    chat()
    fail()
    if what == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("\nconnection closed")
        signal.pause()
    listener.close()
    if what == "raise":
        raise KeyError(PROMPT)
    sys.exit(int(sys.argv[2]))


main()
