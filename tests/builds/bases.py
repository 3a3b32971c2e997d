# SPDX-License-Identifier: Apache-2.0
"""Base images under the names that people write behind FROM: a Debian that mmdebstrap makes, and what bases/Dockerfile installs upon it, built by our engine from Debian's mirror through its
bridge. They lie in a registry on loopback, which stands for Docker Hub; its storage, .cache/builds, is kept for the next time."""
import hashlib
import pathlib
import shutil

import harness

HERE = pathlib.Path(__file__).parent / "bases"
SUITE, DEBIAN = "trixie", "debian:trixie-slim"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NAMES = {"gcc": "gcc:14", "python": "python:3.13-slim", "golang": "golang:1.24", "node": "node:20-slim", "nginx": "nginx:1.26", "java": "eclipse-temurin:21"}
MINUTES = 20  # to make all of them, on a slow line


def debian(engine, folder):
    harness.run(harness.program("mmdebstrap"), "--quiet", "--variant=minbase", "--include=ca-certificates", f"--keyring={KEYRING}", SUITE, folder / "debian.tar", timeout=600)
    engine.cli("import", "-c", 'CMD ["bash"]', folder / "debian.tar", DEBIAN, timeout=120)


def push(engine, hub, name):
    there = f"{hub.host}/library/{name}"
    engine.cli("tag", name, there)
    engine.cli("push", there, timeout=300)
    engine.cli("rmi", there)


def fill(hub):
    engine = harness.Engine("--insecure-registry", "127.0.0.0/8").start()
    folder = harness.temp_folder("bases")
    try:
        debian(engine, folder)
        push(engine, hub, DEBIAN)
        for target, name in NAMES.items():
            engine.cli("build", "-q", "--target", target, "-t", name, HERE, timeout=600)
            push(engine, hub, name)
    finally:
        shutil.rmtree(folder)
        engine.destroy()


def open_hub():
    """The registry, with all of them in it; the caller's to close."""
    key = hashlib.sha256((HERE / "Dockerfile").read_bytes() + SUITE.encode()).hexdigest()[:16]
    kept = harness.ROOT / ".cache/builds" / key
    hub = harness.Registry(data=kept / "data")
    try:
        if not (kept / "complete").exists():
            fill(hub)
            (kept / "complete").touch()
    except BaseException:
        hub.close()
        raise
    return hub
