"""Quotes: a saying for every day."""

import datetime
import os

from flask import Flask, abort, jsonify

QUOTES = [
    "What is easy to take back is easy to try.",
    "A check that nobody reads is a decoration.",
    "Measure first, then argue.",
    "The shortest way home is the one you have walked before.",
    "A small step that holds beats a leap that might.",
]

app = Flask(__name__)


@app.get("/")
def today():
    number = datetime.datetime.now(datetime.UTC).date().toordinal() % len(QUOTES)
    return jsonify(number=number, quote=QUOTES[number])


@app.get("/quotes/<int:number>")
def one(number):
    if number >= len(QUOTES):
        abort(404)
    return jsonify(number=number, quote=QUOTES[number])


@app.get("/health")
def health():
    return jsonify(status="ok")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
