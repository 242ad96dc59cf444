#!/usr/bin/env python3
"""Starts a PersonaPlex server, unchanged, and keeps what it is told of callers out of its output.

    python launch.py [the arguments of moshi.server]

Whatever the server writes, to either stream and from whichever library, goes through a process of its own. From the moment
in which the server listens for calls, only lines that are known to hold nothing of callers come out of that; everything
else is withheld: prompts, request lines, the messages of exceptions. So a server that is changed one day tells less, never
more. The server keeps its process id, so signals and its exit status are as without this.
"""

import atexit
import os
import re
import resource
import runpy
import select
import signal
import sys
import time

SERVER = "moshi.server"
WITHHELD = b"(withheld by launch.py)"
# A line that is longer holds something else than what is known.
LONGEST_LINE_BYTES = 16 * 1024
LAST_WORDS_SECONDS = 2.0

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
PRIVATE = re.compile(rb"text[_ ]prompt", re.IGNORECASE)

# What a server says while it serves, without colours and without the name of its call. No part that a caller, or whoever
# writes its prompt, could choose has a blank in it.
NAME = rb"(?:\[[A-Z0-9]{4}\] )?(?:\[(?:Info|Warn|Err )\] )?"
LOGGER = rb"[0-9 :,-]{23} - [\w.]+ - [A-Z]+ - "
PLACE = rb"[\w./~+-]+"
HARMLESS = [
    NAME + rb"Incoming connection from [0-9a-fA-F.:]+",
    NAME + rb"(?:accepted connection|connection closed|session closed|done with connection)",
    NAME + rb"(?:done with system prompts|sent handshake bytes|empty message)",
    NAME + rb"unknown message kind [0-9]+",
    NAME + rb"unexpected message type [\w.]+",
    NAME + rb"unsupported message type <class '[\w.]+'>",
    NAME + rb"voice prompt: " + PLACE + rb" \(requested: " + PLACE + rb"\)",
    rb"Done loading (?:voice prompt|audio silence|text prompt)\.",
    LOGGER + rb"Access the Web UI directly at https?://[\w.:\[\]-]+",
    LOGGER + rb"(?:warming up the model|moshi loaded|mimi loaded|loading moshi|loading mimi)",
    LOGGER + rb"serving static content from " + PLACE,
    rb"=+ Running on https?://[\w.:\[\]/-]+ =+",
    rb"\(Press CTRL\+C to quit\)",
    rb"(?:Error handling request|Unhandled exception|Task exception was never retrieved)",
    rb"Traceback \(most recent call last\):",
    rb"OSError: \[Errno [0-9]+\] error while attempting to bind on address \('[0-9a-f.:]+', [0-9, ]+\): (?:\[errno [0-9]+\] )?[a-z ]+",
    rb'  File "[\w./<>+-]+", line [0-9]+, in [\w<>.]+',
    rb"\s*",
]
HARMLESS = re.compile(rb"|".join(rb"(?:" + pattern + rb")" for pattern in HARMLESS))
# Of these the beginning is known, and what follows may be anything.
BEGINNINGS = re.compile(NAME + rb"text prompt: |[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit): ")


class Sieve:
    """One stream of the server: bytes go in, and what may be known goes out to `out`."""

    def __init__(self, out):
        self.out = out
        self.line = b""
        self.too_long = False
        self.withheld = False

    def take(self, data, strict):
        for byte_or_end in re.split(rb"([\r\n])", data):
            if byte_or_end in (b"\r", b"\n"):
                strict = self.end(byte_or_end, strict)
            else:
                self.line += byte_or_end
                self.too_long = self.too_long or len(self.line) > LONGEST_LINE_BYTES
                self.line = self.line[:LONGEST_LINE_BYTES]
        return strict

    def end(self, end, strict):
        line, too_long = self.line, self.too_long
        self.line, self.too_long = b"", False
        strict = strict or bool(PRIVATE.search(line)) or too_long
        self.say(line if not strict else known(line, too_long), end)
        return strict

    def say(self, line, end):
        # Many lines in a row that are withheld are told once.
        if line == WITHHELD and self.withheld:
            return
        self.withheld = line == WITHHELD
        write(self.out, line + end)


def known(line, too_long):
    """As much of a line as may be known."""
    bare = COLOUR.sub(b"", line)
    if not too_long and HARMLESS.fullmatch(bare):
        return line
    beginning = BEGINNINGS.match(bare)
    return beginning.group() + WITHHELD if beginning else WITHHELD


def write(out, data):
    while data:
        try:
            data = data[os.write(out, data) :]
        except BlockingIOError:
            select.select([], [out], [])
        except OSError:
            # Nobody reads any more. The server is not to be held up by that.
            return


def listens(listening):
    """Whether the server has said that it listens. One that ended before has not."""
    return bool(select.select([listening], [], [], 0)[0]) and os.read(listening, 1) != b""


def sift(streams, listening):
    """Reads what the server writes until all of its streams are closed. `listening` has a byte once it listens."""
    sieves = {source: Sieve(out) for source, out in streams.items()}
    strict = False
    while sieves:
        ready, _, _ = select.select(list(sieves), [], [])
        for source in ready:
            data = os.read(source, 65536)
            # Looked at after the data was read: what was written after the byte is never taken for earlier.
            strict = strict or listens(listening)
            if data:
                strict = sieves[source].take(data, strict)
            else:
                if sieves[source].line:
                    strict = sieves[source].end(b"\n", strict)
                del sieves[source]


def start_sieve():
    """Puts a process between this one's output and the world; its id, and where it is told that the server listens."""
    sys.stdout.flush()
    sys.stderr.flush()
    (out_read, out_write), (error_read, error_write) = os.pipe(), os.pipe()
    listening, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # It ends when the server has: signals to the whole group are not for it.
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(name, signal.SIG_IGN)
            for end in (out_write, error_write, tell):
                os.close(end)
            sift({out_read: 1, error_read: 2}, listening)
        finally:
            os._exit(0)
    for end in (out_read, error_read, listening):
        os.close(end)
    for end, stream in ((out_write, 1), (error_write, 2)):
        os.dup2(end, stream)
        os.close(end)
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    return child, tell


def watch(tell):
    """Tells the sieve, before it happens, that something is to be listened on, whichever library does so."""
    told = []

    def hear(event, _):
        if event == "socket.bind" and not told:
            told.append(event)
            os.write(tell, b"!")

    sys.addaudithook(hear)


def finish(child):
    """Waits for the last lines, since in a container nothing outlives this process; not for ever, as others have its output."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)


def main():
    # A dump of the memory has every prompt in it. One byte is too few for a file, and to the kernel means no pipe either,
    # which has no limit at 0 (core(5)).
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    child, tell = start_sieve()
    watch(tell)
    # As with python -m.
    sys.path[0] = os.getcwd()
    status = 0
    try:
        runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    # What the server has left for its end, such as the close of a tunnel.
    atexit._run_exitfuncs()
    finish(child)
    # Threads of the server that are left do not keep it: they would have nowhere to write to.
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
