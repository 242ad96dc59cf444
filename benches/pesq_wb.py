"""PESQ-WB (ITU-T P.862.2) of the sounds that `cargo bench --bench quality -- DIRECTORY SPEECH.wav` wrote.

    python3 -m venv venv && venv/bin/pip install pesq==0.0.4 scipy
    venv/bin/python benches/pesq_wb.py DIRECTORY

1.0 is the worst and 4.6 the best. It looks at 50 to 7,000 Hz of sound at 16 kHz, in pieces of 8 s, and takes the mean.
"""

import pathlib
import sys

import numpy
from pesq import pesq
from scipy.io import wavfile
from scipy.signal import resample_poly

RATE_HZ = 16_000
PIECE = 8 * RATE_HZ


def at_16_khz(path):
    rate_hz, sound = wavfile.read(path)
    return resample_poly(sound.astype(numpy.float64) / 32768, RATE_HZ, rate_hz)


def score(said, heard):
    length = min(len(said), len(heard))
    starts = range(0, max(length - PIECE, 0) + 1, PIECE)
    pieces = [(said[at : at + PIECE], heard[at : at + PIECE]) for at in starts]
    speaking = [(a, b) for a, b in pieces if numpy.abs(a).max() > 0.01]
    return numpy.mean([pesq(RATE_HZ, a, b, "wb") for a, b in speaking])


def main():
    directory = pathlib.Path(sys.argv[1])
    print("| speech | way | codec | rate | PESQ-WB |\n|---|---|---|---|---|")
    for original in sorted(directory.glob("*.said.wav")):
        speech = original.name.removesuffix(".said.wav")
        said = at_16_khz(original)
        for path in sorted(directory.glob(f"{speech}.*.*.*.wav")):
            way, codec, rate_hz = path.name.removesuffix(".wav").split(".")[-3:]
            print(f"| {speech} | {way} | {codec} | {rate_hz} | {score(said, at_16_khz(path)):.2f} |")


main()
